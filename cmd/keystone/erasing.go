package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/erase"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
)

// erasing is a command that erases, with what it talks to.
type erasing struct {
	a       *app
	plane   *control.Plane
	states  *store.Store
	columns *shard.Servers
	set     *shard.Set // of columns
	log     *kgo.Client
	admin   *kadm.Client
}

// open wants all shards of ClickHouse to be there: nobody is erased from some of them, where that can be helped.
func (w *erasing) open(t *target) (err error) {
	if w.columns, err = shard.Open(t.ClickhouseDSN, commandConns); err != nil {
		return err
	}
	w.set, err = w.columns.Get(w.a.ctx)
	if err == nil {
		if err = w.columns.Ping(w.a.ctx); err != nil {
			err = fmt.Errorf("%w (this run did nothing: start it, and run it again)", err)
		}
	}
	if err != nil {
		return errors.Join(err, w.columns.Close())
	}
	if w.log, err = kgo.NewClient(append(t.Broker.options, kgo.SeedBrokers(t.Brokers...))...); err != nil {
		_ = w.columns.Close() // the error before is the one to tell
		return fmt.Errorf("connect to the log: %w", err)
	}
	w.admin = kadm.NewClient(w.log)
	return nil
}

func (w *erasing) close() {
	w.log.Close()
	_ = w.columns.Close() // all was acknowledged
}

// say tells how far it is. No name of anybody is in it.
func (w *erasing) say(format string, args ...any) {
	fmt.Fprintf(w.a.stderr, "keystone erase: "+format+"\n", args...)
}

// last is the latest erasure of an identifier or a profile that is not done, else the latest; nil: none.
func (w *erasing) last(tenant, of uuid.UUID) (found *store.Erasure, err error) {
	all, err := w.states.Erasures(w.a.ctx, tenant)
	for _, e := range all {
		if e.Names(of) && (found == nil || found.State == store.ErasureDone || e.State != store.ErasureDone) {
			found = e
		}
	}
	return found, err
}

// plan prints what would go.
func (w *erasing) plan(tenant *control.Tenant, profile uuid.UUID, forever bool) error {
	e, err := w.states.PlanErasure(w.a.ctx, tenant.ID, profile, forever)
	if err != nil {
		return err
	}
	rows, err := erase.Count(w.a.ctx, w.set, erasedPerson(tenant, e))
	if err != nil {
		return err
	}
	fmt.Fprintf(w.a.stdout, "profile %s: what happened until %s would be erased\n", profile, e.Until.Format(time.RFC3339Nano))
	for _, table := range slices.Sorted(maps.Keys(e.StateStore)) {
		fmt.Fprintf(w.a.stdout, "  state store  %-18s %d\n", table, e.StateStore[table])
	}
	for _, table := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(w.a.stdout, "  clickhouse   %-18s %d\n", table, rows[table])
	}
	return nil
}

func erasedPerson(tenant *control.Tenant, e *store.Erasure) *erase.Person {
	p := &erase.Person{Tenant: tenant.ID, Erasure: e.ErasureID, Profiles: e.Profiles, Settings: &tenant.Settings}
	for _, n := range e.Nodes {
		p.Nodes = append(p.Nodes, erase.Node{Node: n.Node, Erasure: n.Erasure})
	}
	return p
}

// finish does what is left of an erasure that is in the state store.
func (w *erasing) finish(tenant *control.Tenant, e *store.Erasure, wait time.Duration) error {
	if err := w.steps(tenant, e, wait); err != nil {
		more := ""
		if w.set.Cluster != "" {
			more = " once all shards of ClickHouse are there"
		}
		return fmt.Errorf("%w (erasure %s is not done, and what is done of it stays done: run it again%s, and it goes on)", err, e.ErasureID, more)
	}
	return nil
}

// steps are all steps from the first one on, each of which finds less to do the second time.
func (w *erasing) steps(tenant *control.Tenant, e *store.Erasure, wait time.Duration) error {
	w.say("the state store has nobody of that name any more: %d profiles, %d identifiers", len(e.Profiles), len(e.Nodes))
	p := erasedPerson(tenant, e)
	if e.ClickHouse == nil {
		e.ClickHouse = map[string]int64{}
	}
	if err := w.announce(p, wait); err != nil {
		return err
	}
	if err := w.reach(e, store.ErasureAnnounced); err != nil {
		return err
	}
	w.say("the sinks write nothing of theirs any more")
	if err := erase.Remove(w.a.ctx, w.set, p, func(table string, rows uint64) error {
		e.ClickHouse[table] = max(e.ClickHouse[table], int64(rows))
		if err := w.states.SaveErasure(w.a.ctx, e); err != nil {
			return err
		}
		w.say("clickhouse: removes %d rows of %s", rows, table)
		return nil
	}); err != nil {
		return err
	}
	if err := w.reach(e, store.ErasureRemoved); err != nil {
		return err
	}
	if err := w.states.EraseRest(w.a.ctx, e); err != nil {
		return err
	}
	w.say("the state store has nothing of theirs any more")
	if err := w.verify(p); err != nil {
		return err
	}
	if err := w.remains(e); err != nil {
		return err
	}
	now := time.Now().UTC()
	e.FinishedAt = &now
	if err := w.reach(e, store.ErasureDone); err != nil {
		return err
	}
	w.say("done: erasure %s", e.ErasureID)
	return nil
}

func (w *erasing) reach(e *store.Erasure, state string) error {
	e.State = state
	return w.states.SaveErasure(w.a.ctx, e)
}

func (w *erasing) announce(p *erase.Person, wait time.Duration) error {
	rows, err := erase.Announce(w.a.ctx, w.set.First(), p, time.Now().UTC())
	if err != nil {
		return err
	}
	w.say("waits for the sinks to know")
	ctx, cancel := context.WithTimeout(w.a.ctx, wait)
	defer cancel()
	err = erase.Await(ctx, w.set.First(), w.admin, analytics.DefaultConfig().Sink.Group, rows)
	if err != nil && w.a.ctx.Err() == nil {
		err = errors.Join(err, w.columns.Ping(w.a.ctx)) // a sink says nothing while it has rows for a shard that is away
	}
	return err
}

// verify looks again. Rows that are there again were written by somebody who should have known better.
func (w *erasing) verify(p *erase.Person) error {
	left, err := erase.Count(w.a.ctx, w.set, p)
	if err != nil {
		return err
	}
	for table, rows := range left {
		// A row of active_nodes can be of somebody else on the same device as well, and comes back.
		if rows > 0 && table != "active_nodes" {
			return fmt.Errorf("%d rows of %s came back: is a sink of an older version running?", rows, table)
		}
	}
	return nil
}

// remains says what nobody can edit.
func (w *erasing) remains(e *store.Erasure) error {
	now := time.Now().UTC()
	parts, err := erase.PartsUntil(w.a.ctx, w.set, now)
	if err != nil {
		return err
	}
	e.Remains = []store.Remainder{
		{Where: "clickhouse, files of replaced parts", Until: &parts, Why: "old_parts_lifetime; nobody can query them"},
		{Where: "backups", Why: "one made before has the person: run keystone erase again whenever one is restored"},
	}
	topics := []string{event.TopicEvents, event.TopicBackfill, event.TopicChanges, event.TopicDLQ}
	settings, err := doctor.TopicSettings(w.a.ctx, w.admin, topics...)
	if err != nil {
		return fmt.Errorf("read the topics' settings: %w", err)
	}
	for _, topic := range topics {
		r := store.Remainder{Where: "log, " + topic}
		text := settings[topic]["retention.ms"]
		switch ms, err := strconv.ParseInt(text, 10, 64); {
		case err != nil:
			r.Why = "its retention.ms is not known"
		case ms < 0:
			r.Why = "retention.ms is -1: the topic keeps its records for ever, or as long as retention.bytes lets it"
		default:
			until := now.Add(time.Duration(ms) * time.Millisecond)
			r.Until, r.Why = &until, "retention.ms; the broker removes whole segments, some time after"
		}
		e.Remains = append(e.Remains, r)
	}
	return nil
}

// tenants is one, or all.
func (w *erasing) tenants(ref string) ([]control.Tenant, error) {
	if ref == "" {
		return w.plane.Tenants(w.a.ctx)
	}
	tenant, err := w.plane.Tenant(w.a.ctx, ref)
	return []control.Tenant{tenant}, err
}

// known are a tenant's erasures, wherever they are known: of the stores one may be a restored one.
func (w *erasing) known(tenant *control.Tenant, receipts []*store.Erasure) ([]*store.Erasure, error) {
	all, err := w.states.Erasures(w.a.ctx, tenant.ID)
	if err != nil {
		return nil, err
	}
	have := func(id uuid.UUID) bool {
		return slices.ContainsFunc(all, func(e *store.Erasure) bool { return e.ErasureID == id })
	}
	for _, e := range receipts {
		if e.TenantID == tenant.ID && !have(e.ErasureID) {
			all = append(all, e)
		}
	}
	announced, err := erase.Announced(w.a.ctx, w.set.First(), tenant.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range announced {
		if !have(p.Erasure) {
			all = append(all, erasureOf(p))
		}
	}
	// In their order: who came after one and was erased by a later one is not the later one's alone.
	slices.SortFunc(all, func(a, b *store.Erasure) int { return a.Until.Compare(b.Until) })
	return all, nil
}

// erasureOf is an erasure of which ClickHouse alone knows.
func erasureOf(p *erase.Person) *store.Erasure {
	e := &store.Erasure{ErasureID: p.Erasure, TenantID: p.Tenant, StartedAt: p.At, Profiles: p.Profiles}
	for _, n := range p.Nodes {
		e.Nodes = append(e.Nodes, store.ErasedNode{Node: n.Node, Erasure: n.Erasure})
		if n.At.After(e.Until) {
			e.Until = n.At
		}
	}
	e.Forever = e.Until.Equal(event.Forever)
	return e
}
