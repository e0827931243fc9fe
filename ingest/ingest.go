// Package ingest assembles the role "edge": the HTTP server, the cache of API keys, a lane into the
// log for live events and one for backfills, each with its spool, and the recorder of jobs. It holds
// no logic of its own; what each part promises stands in its package.
//
//	HTTP ─▶ edge ─▶ produce (live) ─────▶ keystone.events
//	         │        └▶ spool ──┘
//	         └────▶ produce (backfill) ─▶ keystone.backfill
//	                  └▶ spool ──┘
//
// Start opens everything, Stop closes it in reverse. The stores behind Deps are the caller's.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/ingest/edge"
	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// AnswerWithin is the promise of the edge: an answer, or 503, after the request has arrived (spec 1.1).
const AnswerWithin = 5 * time.Second

// Config of the role.
type Config struct {
	Edge  edge.Config
	Keys  key.Config
	Log   produce.Config
	Spool spool.Config // Dir holds the folders of both lanes; the limits are each lane's
	Jobs  job.Config
}

// DefaultConfig lacks the brokers and the spool's folder.
func DefaultConfig() Config {
	return Config{
		Edge: edge.DefaultConfig(), Keys: key.DefaultConfig(), Log: produce.DefaultConfig(),
		Spool: spool.DefaultConfig(), Jobs: job.DefaultConfig(),
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	errs := []error{c.Edge.Validate(), c.Keys.Validate(), c.Log.Validate(), c.Spool.Validate(), c.Jobs.Validate()}
	store := c.Log.AckWithin + c.Log.SpoolWithin
	if d := c.Keys.LookupTimeout + c.Edge.BodyWait + store; d > AnswerWithin {
		errs = append(errs, fmt.Errorf("ingest: lookup_timeout + body_wait + ack_within + spool_within is %s; an event is answered within %s", d, AnswerWithin))
	}
	if d := c.Edge.BulkWithin + store; d > AnswerWithin {
		errs = append(errs, fmt.Errorf("ingest: bulk_within + ack_within + spool_within is %s; a batch is answered within %s", d, AnswerWithin))
	}
	if int64(c.Log.BatchBytes) < int64(c.Edge.Limits.EventBytes)+16<<10 {
		errs = append(errs, errors.New("ingest: batch_bytes of the log must exceed limits.event_bytes by 16 KiB for key and headers"))
	}
	return errors.Join(errs...)
}

// Deps are what the role stands on.
type Deps struct {
	Keys     key.Source
	Jobs     job.Store
	Log      *slog.Logger
	Registry prometheus.Registerer
	Tracer   *trace.Tracer // nil: no traces
}

// Ingest is the role "edge".
type Ingest struct {
	cfg    Config
	deps   Deps
	server atomic.Pointer[edge.Server] // set once it listens; probes may ask before
	parts  []part                      // started, in order
}

// part is what Start started.
type part interface {
	Stop(ctx context.Context) error
}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Ingest, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Ingest{cfg: cfg, deps: deps}, nil
}

// Start recovers the spools and begins to listen. The log and the stores need not be there. After an
// error nothing runs.
func (i *Ingest) Start(ctx context.Context) error {
	if err := i.start(ctx); err != nil {
		return errors.Join(err, i.Stop(ctx))
	}
	return nil
}

func (i *Ingest) start(ctx context.Context) error {
	log, reg := i.deps.Log, i.deps.Registry
	keys, err := key.New(i.cfg.Keys, i.deps.Keys, reg)
	if err != nil {
		return err
	}
	jobs, err := job.NewRecorder(i.cfg.Jobs, i.deps.Jobs, log, reg)
	if err != nil {
		return err
	}
	for _, p := range []interface {
		part
		Start(ctx context.Context) error
	}{keys, jobs} {
		if err := p.Start(ctx); err != nil {
			return err
		}
		i.parts = append(i.parts, p)
	}
	live, err := i.lane("live", event.TopicEvents, nil)
	if err != nil {
		return err
	}
	backfill, err := i.lane("backfill", event.TopicBackfill, jobs)
	if err != nil {
		return err
	}
	for _, l := range []*produce.Lane{live, backfill} {
		if err := l.Start(ctx); err != nil {
			return err
		}
	}
	server, err := edge.New(i.cfg.Edge, edge.Deps{
		Keys: keys, Live: live, Backfill: backfill, Jobs: jobs, Log: log, Registry: reg,
		Tracer: i.deps.Tracer,
	})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	i.parts = append(i.parts, server)
	i.server.Store(server)
	return nil
}

// lane opens one lane and its spool. From then on Stop closes both.
func (i *Ingest) lane(name, topic string, jobs *job.Recorder) (*produce.Lane, error) {
	cfg := i.cfg.Spool
	cfg.Name, cfg.Dir = name, filepath.Join(cfg.Dir, name)
	sp, err := spool.Open(cfg, spool.OS(), i.deps.Log, i.deps.Registry)
	if err != nil {
		return nil, err
	}
	lane, err := produce.NewLane(i.cfg.Log, topic, sp, i.deps.Log, i.deps.Registry)
	if err != nil {
		return nil, errors.Join(err, sp.Stop(context.Background()))
	}
	lane.Tracer = i.deps.Tracer
	if jobs != nil {
		lane.Delivered = jobs.Delivered
	}
	i.parts = append(i.parts, lane)
	return lane, nil
}

// Addr is where the edge listens, after Start.
func (i *Ingest) Addr() net.Addr { return i.server.Load().Addr() }

// Ready is nil while the edge takes events; else it names what is in the way.
func (i *Ingest) Ready(context.Context) error {
	server := i.server.Load()
	if server == nil {
		return errors.New("edge: not started")
	}
	return server.Ready()
}

// Stop waits for the load balancers, takes no more connections, finishes the requests under way,
// flushes the lanes and closes the spools. After the wait each part may use half of the time that is
// left.
func (i *Ingest) Stop(ctx context.Context) error {
	if server := i.server.Load(); server != nil {
		server.Drain(ctx)
	}
	var errs []error
	for n := len(i.parts) - 1; n >= 0; n-- {
		errs = append(errs, stop(ctx, i.parts[n]))
	}
	return errors.Join(errs...)
}

func stop(ctx context.Context, p part) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return p.Stop(ctx)
}
