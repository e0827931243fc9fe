package store

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// What the store keeps in SQL is, row by row, what the same log leaves in memory.
func TestStoreEqualsMemory(t *testing.T) {
	var reruns, rows int
	s := newStore(t, newDSN(t))
	s.now = func() time.Time { return applytest.ProcessedAt }
	for seed := range 8 {
		clear(t, s)
		log := applytest.Logs(120).Example(seed)
		cut := func(n int) bool { return n%(seed+2) == 0 }
		want, err := applytest.Play(applytest.Settings(), log, cut)
		if err != nil {
			t.Fatal(err)
		}
		playSQL(t, s, log, cut)
		if diff := wantedDiff(want, dumpSQL(t, s)); diff != "" {
			t.Fatalf("seed %d: memory (-) and the state store (+) differ:\n%s", seed, diff)
		}
		reruns += want.Reruns
		rows += len(want.Profiles)
	}
	if reruns == 0 || rows == 0 {
		t.Errorf("the logs tested too little: %d reruns, %d profiles", reruns, rows)
	}
}

func clear(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.pool.Exec(context.Background(), `TRUNCATE profiles, identifiers, identifier_spans, profile_merges, identity_conflicts,
		attribute_changes, orders, products, message_ids, outbox, processor_offsets`)
	if err != nil {
		t.Fatal(err)
	}
	s.memory = newMemory(s.cfg.SeenFor) // another store, as far as it knows
}

// lane is one partition of the log, as its worker sees it.
type lane struct {
	claim Claim
	next  int64
}

func (l *lane) batch(events []apply.Event) *Batch {
	return &Batch{Claim: l.claim, Offset: l.next, NextOffset: l.next + int64(len(events)), Events: events, Settings: applytest.Settings()}
}

func claim(t testing.TB, s *Store, partition int32) *lane {
	t.Helper()
	c, next, err := s.Claim(context.Background(), event.TopicEvents, partition, "test")
	if err != nil {
		t.Fatal(err)
	}
	return &lane{c, next}
}

func playSQL(t testing.TB, s *Store, log []applytest.Entry, cut func(int) bool) {
	t.Helper()
	lanes := map[string]*lane{}
	for n := 0; n < len(log); {
		name := log[n].Lane
		l := lanes[name]
		if l == nil {
			partition, err := strconv.ParseInt(name, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			l = claim(t, s, int32(partition))
			lanes[name] = l
		}
		events := []apply.Event{log[n].Event}
		for n++; n < len(log) && log[n].Lane == name && !cut(n); n++ {
			events = append(events, log[n].Event)
		}
		b := l.batch(events)
		if _, err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		l.next = b.NextOffset
	}
}

// wantedDiff compares without the order of occurrences, which SQL does not keep across batches, and
// without what applytest remembers of lanes.
func wantedDiff(want, got *applytest.Store) string {
	for _, s := range []*applytest.Store{want, got} {
		slices.SortFunc(s.Merges, func(a, b apply.Merge) int { return bytes.Compare(a.MergeID[:], b.MergeID[:]) })
		slices.SortFunc(s.Conflicts, func(a, b identity.Conflict) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		slices.SortFunc(s.Lineage, func(a, b apply.Lineage) int {
			if c := bytes.Compare(a.ProfileID[:], b.ProfileID[:]); c != 0 {
				return c
			}
			return int(a.Version - b.Version)
		})
	}
	var lines []string
	for line := range strings.Lines(want.Diff(got)) {
		if !strings.Contains(line, `["created",`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// dumpSQL reads all tables back, not through the exports but as the fold would see them.
func dumpSQL(t testing.TB, s *Store) *applytest.Store {
	t.Helper()
	l := &rows{}
	all := func(text string, take func(pgx.Rows) error) {
		t.Helper()
		rows, err := s.pool.Query(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if err := take(rows); err != nil {
			t.Fatal(err)
		}
		rows.Close()
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
	}
	cut := func(text, until string) string {
		i := strings.Index(text, until)
		if i < 0 {
			t.Fatalf("no %q in %q", until, text)
		}
		return text[:i]
	}
	all(cut(unmergeProfiles, "FROM")+"FROM profiles AS p", func(r pgx.Rows) error {
		var p profileRow
		for r.Next() {
			if err := r.Scan(p.columns()...); err != nil {
				return err
			}
			if err := l.addOwner(&p); err != nil {
				return err
			}
		}
		return nil
	})
	all(cut(identifierOfProfile, "FROM")+"FROM identifiers AS i", l.addIdentifiers)
	all(cut(spanOfProfile, "FROM")+"FROM identifier_spans AS s", l.addSpans)
	all(cut(orderOfProfile, "FROM")+"FROM orders AS o", l.addOrders)
	all(cut(productLoad, "FROM")+"FROM products AS p", l.addProducts)

	out := applytest.NewStore(applytest.Settings())
	st := l.state(nil)
	for id, p := range st.Profiles {
		out.Profiles[id] = *p
	}
	for id, i := range st.Identifiers {
		out.Identifiers[id] = *i
	}
	for _, x := range st.Spans {
		out.Spans[applytest.SpanKey{Node: x.Node, From: x.ValidFrom}] = *x
	}
	for k, o := range st.Orders {
		out.Orders[k] = *o
	}
	for k, p := range st.Products {
		out.Products[k] = *p
	}
	all(`SELECT tenant_id, body FROM profile_merges`, func(rows pgx.Rows) error {
		for rows.Next() {
			var m apply.Merge
			var body []byte
			if err := rows.Scan(&m.Tenant, &body); err != nil {
				return err
			}
			if err := json.Unmarshal(body, &m.Merge); err != nil {
				return err
			}
			out.Merges = append(out.Merges, m)
		}
		return nil
	})
	all(`SELECT tenant_id, profile_id, version, changes FROM attribute_changes`, func(rows pgx.Rows) error {
		for rows.Next() {
			var x apply.Lineage
			var text []byte
			if err := rows.Scan(&x.Tenant, &x.ProfileID, &x.Version, &text); err != nil {
				return err
			}
			if err := json.Unmarshal(text, &x.Changes); err != nil {
				return err
			}
			out.Lineage = append(out.Lineage, x)
		}
		return nil
	})
	for tenant := range map[uuid.UUID]bool{applytest.Lenient: true, applytest.Strict: true} {
		for c, err := range s.Conflicts(context.Background(), tenant) {
			if err != nil {
				t.Fatal(err)
			}
			x := identity.Conflict{Tenant: tenant, ID: c.ConflictID, MessageID: c.MessageID, ProfileID: c.ProfileID,
				Reason: identity.Reason(c.Reason), Kind: c.Kind, Value: c.Value, LimitKind: c.LimitKind, EventTime: c.EventTime, ReceivedAt: c.ReceivedAt}
			if c.Node != nil {
				x.Node = *c.Node
			}
			if c.Other != nil {
				x.Other = *c.Other
			}
			out.Conflicts = append(out.Conflicts, x)
		}
	}
	return out
}
