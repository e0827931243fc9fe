package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
)

type unmergeCmd struct {
	target
	Tenant string    `help:"Slug or id." placeholder:"TENANT"`
	Merge  uuid.UUID `help:"The merge's id; keystone explain and keystone export merges show it." placeholder:"ID"`
	Resend bool      `help:"Take nothing back; only tell ClickHouse of earlier unmerges that it has not heard of."`
	JSON   bool      `name:"json" help:"Print what was done as one JSON object."`
}

// Help is shown below the usage.
func (unmergeCmd) Help() string {
	return `The merged profile lives again, with the identifiers, orders, counters and attributes that its merge
record says it had. What happened since the merge stays with the winner and is listed, and so is what
cannot return: a device that was relinked since, an order of somebody else's by now, an attribute that
changed. Where the winner was merged into another profile since, it is taken out of that one. All of
it is in the lineage (cause_kind "unmerge").

It takes the past back, not the future: an event that names both again merges them again.

Examples:
  keystone unmerge --tenant demo --merge 0f0a4d7e-3c5b-4a9e-8f21-6d0b7c9e1a42
  keystone unmerge --resend`
}

// unmergePublishTimeout bounds telling the log; what is left then is for --resend.
const unmergePublishTimeout = 30 * time.Second

// Run takes the merge back in the state store, then tells ClickHouse through the log.
func (c *unmergeCmd) Run(a *app) error {
	if !c.Resend && (c.Tenant == "" || c.Merge == uuid.Nil) {
		return errors.New("name the tenant and the merge: --tenant and --merge; or --resend")
	}
	if err := c.resolve(needStore | needBrokers); err != nil {
		return err
	}
	return c.withStore(a, func(plane *control.Plane, states *store.Store) error {
		if c.Resend {
			return c.publish(a, states)
		}
		tenant, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		done, err := states.Unmerge(a.ctx, tenant, c.Merge)
		if err != nil {
			return err
		}
		if c.JSON {
			err = printJSON(a, done)
		} else {
			err = writeUnmerged(a.stdout, done)
		}
		return errors.Join(err, c.publish(a, states))
	})
}

// publish produces what is in the outbox of unmerges, this one's and what was left over.
func (c *unmergeCmd) publish(a *app, states *store.Store) error {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID("keystone-unmerge")}, c.Broker.options...)...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	publisher, err := outbox.New(outbox.DefaultConfig(), client, states, a.log, outbox.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, unmergePublishTimeout)
	defer cancel()
	if err := publisher.Open(store.UnmergeSource, 0, math.MaxInt64).Close(ctx); err != nil {
		return fmt.Errorf("the state store has it, ClickHouse was not told yet (run keystone unmerge --resend): %w", err)
	}
	return nil
}

func writeUnmerged(w io.Writer, u *apply.Unmerging) error {
	var b strings.Builder
	fmt.Fprintf(&b, "merge %s is taken back\n", u.MergeID)
	fmt.Fprintf(&b, "profile %s lives again, with\n  events       %d\n", u.LoserID, u.EventCount)
	for _, i := range u.Identifiers {
		fmt.Fprintf(&b, "  identifier   %s %q\n", i.Kind, i.Value)
	}
	for _, id := range u.Orders {
		fmt.Fprintf(&b, "  order        %q\n", id)
	}
	fmt.Fprintf(&b, "profile %s", u.LiveID)
	if u.LiveID != u.WinnerID {
		fmt.Fprintf(&b, " (the winner %s was merged into it since)", u.WinnerID)
	}
	fmt.Fprintln(&b)
	for _, path := range u.Attributes {
		fmt.Fprintf(&b, "  gave back    %q\n", path)
	}
	for _, path := range u.Learned {
		fmt.Fprintf(&b, "  keeps        %q, learned since the merge\n", path)
	}
	for _, k := range u.Kept {
		fmt.Fprintf(&b, "  not returned %s %q: %s\n", k.What, k.Name, k.Reason)
	}
	if u.WiderBounds {
		fmt.Fprintln(&b, "  keeps        first_seen, last_seen and attributes_at as they were: some may be the other's")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
