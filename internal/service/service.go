// Package service is what every role of the binary needs around its work: starting parts in order
// and stopping them in reverse, each with a deadline; the admin listener; the topics. It knows no
// stage.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Part is something with a life: New made it, Start runs it, Stop ends it. Stop must be safe to
// call twice and after a failed Start.
type Part interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
}

// Group starts parts in the order they were added and stops them in reverse. It is used from one
// goroutine.
type Group struct {
	log     *slog.Logger
	started []member
}

type member struct {
	name    string
	part    Part
	timeout time.Duration
}

// NewGroup makes an empty group.
func NewGroup(log *slog.Logger) *Group { return &Group{log: log} }

// Start starts one part and takes it in: from now on Stop ends it, within stopTimeout. A part that
// fails to start is stopped at once.
func (g *Group) Start(ctx context.Context, name string, part Part, stopTimeout time.Duration) error {
	begin := time.Now()
	if err := part.Start(ctx); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), stop(member{name, part, stopTimeout}))
	}
	g.Add(name, part, stopTimeout)
	g.log.Debug("started", "part", name, "took_ms", time.Since(begin).Milliseconds())
	return nil
}

// Add takes in a part that somebody else has started, or has tried to.
func (g *Group) Add(name string, part Part, stopTimeout time.Duration) {
	g.started = append(g.started, member{name, part, stopTimeout})
}

// Stop ends all parts, the last one first, and joins their errors. Each part has its own deadline,
// so that a hanging one does not take the others' time.
func (g *Group) Stop() error {
	var errs []error
	for i := len(g.started) - 1; i >= 0; i-- {
		m := g.started[i]
		begin := time.Now()
		if err := stop(m); err != nil {
			errs = append(errs, err)
		}
		g.log.Debug("stopped", "part", m.name, "took_ms", time.Since(begin).Milliseconds())
	}
	g.started = nil
	return errors.Join(errs...)
}

func stop(m member) error {
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	if err := m.part.Stop(ctx); err != nil {
		return fmt.Errorf("stop %s: %w", m.name, err)
	}
	return nil
}
