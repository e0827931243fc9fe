package main

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/user"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/deadletter"
	"github.com/keystone-cdp/keystone/processor/store"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters: records that could not be processed."`
	Show   dlqShowCmd   `cmd:"" help:"Print all that is known of one, the event included."`
	Replay dlqReplayCmd `cmd:"" help:"Put them into the log again, once the cause is gone."`
	Drop   dlqDropCmd   `cmd:"" help:"Settle them without a replay, and write down why."`
}

// letterFilter chooses letters.
type letterFilter struct {
	Tenant string `help:"Slug or id; none: of records that name no tenant. All where absent." placeholder:"TENANT"`
	Reason string `enum:",bad_record,invalid_event,no_identifier,unknown_tenant,not_applied" default:"" help:"bad_record, invalid_event, no_identifier, unknown_tenant or not_applied." placeholder:"REASON"`
}

// noTenant is what people type for uuid.Nil.
const noTenant = "none"

// tenant is the filter's, nil where there is none. One that is not known is taken by its id: its
// letters are there for that very reason.
func (f *letterFilter) tenant(a *app, plane *control.Plane) (*uuid.UUID, error) {
	switch f.Tenant {
	case "":
		return nil, nil
	case noTenant:
		return new(uuid.UUID), nil
	}
	if id, err := uuid.Parse(f.Tenant); err == nil {
		return &id, nil
	}
	id, err := tenantID(a, plane, f.Tenant)
	return &id, err
}

// withQueue runs a command's work on the dead letters; tenant is the filter's.
func (f *letterFilter) withQueue(a *app, t *target, work func(q *deadletter.Queue, plane *control.Plane, tenant *uuid.UUID) error) error {
	if err := t.resolve(needStore | needBrokers); err != nil {
		return err
	}
	return t.withStore(a, func(plane *control.Plane, states *store.Store) error {
		tenant, err := f.tenant(a, plane)
		if err != nil {
			return err
		}
		q, err := deadletter.New(states, t.Brokers, "keystone dlq "+a.role+" ("+operator()+")", t.Broker.options...)
		if err != nil {
			return err
		}
		defer q.Close()
		return work(q, plane, tenant)
	})
}

// operator is who runs the command, for the letters' rows.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

type dlqListCmd struct {
	target
	letterFilter
	State string `enum:"open,replaying,replayed,dropped,all" default:"open" help:"open, replaying, replayed, dropped or all."`
	Limit int    `default:"100" help:"At most so many; 0: all."`
	JSON  bool   `name:"json" help:"One JSON object a line."`
}

// Help is shown below the usage.
func (dlqListCmd) Help() string {
	return `By tenant and place in the log. A letter's id is the place of the record that was given up:
topic/partition/offset. A record that was replayed and failed again is a new letter, with more
attempts; the old one is "replayed". "replaying" is left by a command that died: the record may be in
the log again, or not, and keystone dlq replay --again is safe.

Examples:
  keystone dlq list
  keystone dlq list --tenant demo --reason invalid_event
  keystone dlq list --tenant none --state all
  keystone dlq list --json --limit 0 | jq -r .reason | sort | uniq -c`
}

// Run streams the letters.
func (c *dlqListCmd) Run(a *app) error {
	if c.Limit < 0 {
		return errors.New("--limit must not be negative")
	}
	return c.withStore(a, func(plane *control.Plane, states *store.Store) error {
		tenant, err := c.tenant(a, plane)
		if err != nil {
			return err
		}
		f := store.DeadLetterFilter{Tenant: tenant, State: c.State, Reason: c.Reason}
		if c.State == "all" {
			f.State = ""
		}
		out := bufio.NewWriterSize(a.stdout, 64<<10)
		letters, more := limited(states.ListDeadLetters(a.ctx, f), c.Limit)
		if c.JSON {
			err = writeLines(out, withIDs(letters))
		} else {
			err = writeLetters(a, out, plane, letters)
		}
		if err := errors.Join(err, out.Flush()); err != nil {
			return err
		}
		if *more {
			fmt.Fprintf(a.stderr, "there are more than %d: raise --limit, or --limit 0 for all\n", c.Limit)
		}
		return nil
	})
}

// limited ends rows after limit of them, and tells whether there are more; 0 is no limit.
func limited[T any](rows iter.Seq2[T, error], limit int) (iter.Seq2[T, error], *bool) {
	more := new(bool)
	return func(yield func(T, error) bool) {
		n := 0
		for row, err := range rows {
			if *more = err == nil && limit > 0 && n == limit; *more || !yield(row, err) {
				return
			}
			n++
		}
	}, more
}

type dlqShowCmd struct {
	target
	ID     string `arg:"" help:"topic/partition/offset, as dlq list prints it." placeholder:"ID"`
	Tenant string `help:"Slug or id, where several tenants have a letter of that place." placeholder:"TENANT"`
	JSON   bool   `name:"json" help:"Print one JSON object."`
	Value  bool   `help:"Print the event alone, byte for byte."`
}

// Help is shown below the usage.
func (dlqShowCmd) Help() string {
	return `Prints the event itself: mind who looks over your shoulder. Where keystone.dlq does not have it (any
more), it is read from its original place in the log.

Examples:
  keystone dlq show keystone.events/3/1042
  keystone dlq show keystone.events/3/1042 --value | jq .payload`
}

// Run prints one letter.
func (c *dlqShowCmd) Run(a *app) error {
	id, err := deadletter.ParseID(c.ID)
	if err != nil {
		return err
	}
	f := letterFilter{Tenant: c.Tenant}
	return f.withQueue(a, &c.target, func(q *deadletter.Queue, plane *control.Plane, tenant *uuid.UUID) error {
		letter, err := q.Find(a.ctx, id, tenant)
		if err != nil {
			return err
		}
		outcome, err := q.Outcome(a.ctx, letter)
		if err != nil {
			return err
		}
		record, err := q.Record(a.ctx, letter)
		if err != nil && (c.Value || !errors.Is(err, deadletter.ErrGone)) {
			return err
		}
		s := shown{letter: letter, outcome: outcome, record: record, lost: err}
		switch {
		case c.Value:
			_, err = a.stdout.Write(record.Value)
			return err
		case c.JSON:
			return printJSON(a, s.json())
		}
		names, err := tenantNames(a, plane)
		if err != nil {
			return err
		}
		return s.write(a.stdout, names.of(letter.TenantID))
	})
}
