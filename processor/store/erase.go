package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	eraseGrave            = sql.Statement("erase_grave")
	eraseProfiles         = sql.Statement("erase_profiles")
	eraseIdentifiers      = sql.Statement("erase_identifiers")
	eraseBlankProfiles    = sql.Statement("erase_blank_profiles")
	eraseBlankIdentifiers = sql.Statement("erase_blank_identifiers")
	eraseMarkIdentifiers  = sql.Statement("erase_mark_identifiers")
	eraseTouchProfiles    = sql.Statement("erase_touch_profiles")
	eraseSpans            = sql.Statement("erase_spans")
	eraseMergesLost       = sql.Statement("erase_merges_lost")
	eraseMergesUndone     = sql.Statement("erase_merges_undone")
	eraseCountLineage     = sql.Statement("erase_count_lineage")
	eraseCountOrders      = sql.Statement("erase_count_orders")
	eraseCountMerges      = sql.Statement("erase_count_merges")
)

// Erase makes one person nobody, whole or not at all: from its commit on no event of theirs is applied,
// by any process, nor again when the log or a backfill brings it (ADR 3). What hangs on the profile and
// vouches for nothing is left to EraseRest. ErrUnknownProfile: there is nobody of that id, or no more.
func (s *Store) Erase(ctx context.Context, tenant, profile uuid.UUID, forever bool) (*Erasure, error) {
	e := &Erasure{ErasureID: uuid.New(), TenantID: tenant, Forever: forever, Profiles: []uuid.UUID{profile}}
	return e, s.erase(ctx, e, false)
}

// PlanErasure tells what Erase would do, and does nothing.
func (s *Store) PlanErasure(ctx context.Context, tenant, profile uuid.UUID, forever bool) (*Erasure, error) {
	e := &Erasure{TenantID: tenant, Forever: forever, Profiles: []uuid.UUID{profile}}
	_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		x := &eraser{store: s, tx: tx, e: copyOf(e), now: s.now()}
		defer func() { *e = *x.e }()
		return x.load(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("plan the erasure of profile %s: %w", profile, err)
	}
	return e, nil
}

// EraseAgain erases once more who was erased, as a restored store may have them back or never have heard
// of it. Who has come since is new and stays: the identifiers' rows say so.
func (s *Store) EraseAgain(ctx context.Context, e *Erasure) error { return s.erase(ctx, e, true) }

// copyOf is for one attempt, which may not leave anything behind.
func copyOf(e *Erasure) *Erasure {
	c := *e
	c.Profiles, c.Nodes = slices.Clone(e.Profiles), slices.Clone(e.Nodes)
	c.StateStore = map[string]int64{}
	return &c
}

// erase may be repeated when nobody knows whether its commit happened: the second time finds less to
// do, and e is saved under the same id.
func (s *Store) erase(ctx context.Context, e *Erasure, again bool) error {
	for attempt := 1; ; attempt++ {
		var done *Erasure
		_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
			x := &eraser{store: s, tx: tx, e: copyOf(e), again: again, now: s.now()}
			done = x.e
			if err := x.load(ctx); err != nil {
				return err
			}
			return x.save(ctx)
		})
		switch {
		case err == nil:
			for table, rows := range e.StateStore { // of the first time
				done.StateStore[table] = max(rows, done.StateStore[table])
			}
			*e = *done
			return nil
		case attempt < unmergeAttempts && ambiguous(err):
			all, lookErr := s.Erasures(ctx, e.TenantID)
			if lookErr == nil && slices.ContainsFunc(all, func(o *Erasure) bool { return o.ErasureID == e.ErasureID }) {
				*e = *done // the commit that nobody acknowledged had happened
				return nil
			}
		default:
			return fmt.Errorf("erase profile %s: %w", e.Profiles[0], err)
		}
	}
}

// eraser is one attempt.
type eraser struct {
	store *Store
	tx    *Tx
	e     *Erasure
	again bool // e has been in force: its nodes and times are as they are
	now   time.Time

	spans map[uuid.UUID][]nodeSpan // of every node concerned, oldest first; the present one is last
	here  int                      // profiles found
}

// nodeSpan is one span of an identifier's life as its row has it.
type nodeSpan struct {
	owner   uuid.UUID
	from    time.Time
	version int64
	erased  event.Erasures
	kind    string
	present bool
}

// load finds out what there is of the person.
func (x *eraser) load(ctx context.Context) error {
	e := x.e
	last, err := x.profiles(ctx)
	if err != nil {
		return err
	}
	if x.here == 0 && !x.again {
		return ErrUnknownProfile
	}
	nodes, err := x.owned(ctx)
	if err != nil {
		return err
	}
	for _, n := range e.Nodes {
		nodes = append(nodes, n.Node)
	}
	if err := x.history(ctx, distinctIDs(nodes)); err != nil {
		return err
	}
	if !x.again {
		x.decide(last)
	} else {
		x.adopt()
	}
	return x.count(ctx)
}

// profiles finds those of the person, and the latest time that is known of any.
func (x *eraser) profiles(ctx context.Context) (last time.Time, err error) {
	e := x.e
	ids := slices.Clone(e.Profiles)
	var events int64
	batch := x.tx.Batch()
	batch.Queue(eraseProfiles, e.TenantID, uuidColumn(ids), event.GraveID(e.TenantID)).Query(func(r pgx.Rows) error {
		for r.Next() {
			var id uuid.UUID
			var seen, created time.Time
			var count int64
			if err := r.Scan(&id, &seen, &created, &count); err != nil {
				return err
			}
			x.here++
			events += count
			ids = append(ids, id)
			for _, t := range []time.Time{seen, created} {
				if t.After(last) {
					last = t
				}
			}
		}
		return nil
	})
	if err := x.tx.Send(ctx, batch); err != nil {
		return last, err
	}
	e.Profiles = distinctIDs(ids)
	e.StateStore["profiles"], e.StateStore["events_counted"] = int64(x.here), events
	return last, nil
}

// owned are the nodes that the profiles own, or owned.
func (x *eraser) owned(ctx context.Context) (nodes []uuid.UUID, err error) {
	e := x.e
	tenants := make(uuids, len(e.Profiles))
	for i := range tenants {
		tenants[i] = uuidElement(e.TenantID)
	}
	var l rows
	batch := x.tx.Batch()
	batch.Queue(identifierOfProfile, tenants, uuidColumn(e.Profiles)).Query(l.addIdentifiers)
	batch.Queue(spanOfProfile, tenants, uuidColumn(e.Profiles)).Query(l.addSpans)
	if err := x.tx.Send(ctx, batch); err != nil {
		return nil, err
	}
	for i := range l.identifiers {
		nodes = append(nodes, l.identifiers[i].Node)
	}
	for i := range l.spans {
		nodes = append(nodes, l.spans[i].Node)
	}
	e.StateStore["identifiers"], e.StateStore["identifier_spans"] = int64(len(l.identifiers)), int64(len(l.spans))
	return nodes, nil
}

// history loads all spans of nodes, other people's too.
func (x *eraser) history(ctx context.Context, nodes []uuid.UUID) error {
	x.spans = make(map[uuid.UUID][]nodeSpan, len(nodes))
	batch := x.tx.Batch()
	batch.Queue(eraseIdentifiers, x.e.TenantID, uuidColumn(nodes)).Query(func(r pgx.Rows) error {
		for r.Next() {
			var node uuid.UUID
			var s nodeSpan
			var erased string
			if err := r.Scan(&node, &s.owner, &s.from, &s.version, &erased, &s.kind, &s.present); err != nil {
				return err
			}
			if erased != "" {
				if err := json.Unmarshal([]byte(erased), &s.erased); err != nil {
					return fmt.Errorf("read what is erased of identifier %s: %w", node, err)
				}
			}
			x.spans[node] = append(x.spans[node], s)
		}
		return nil
	})
	if err := x.tx.Send(ctx, batch); err != nil {
		return err
	}
	for _, spans := range x.spans {
		slices.SortFunc(spans, func(a, b nodeSpan) int { return a.from.Compare(b.from) })
	}
	for _, n := range nodes {
		if _, ok := x.spans[n]; !ok {
			x.spans[n] = nil
		}
	}
	return nil
}

func (x *eraser) theirs(profile uuid.UUID) bool { return slices.Contains(x.e.Profiles, profile) }

// decide says what is erased. The time is later than all that is known of the person, whatever the
// clocks of the edges said: what was applied is erased, and stays so when it is read again.
func (x *eraser) decide(last time.Time) {
	e := x.e
	e.StartedAt, e.State = x.now, ErasureStored
	for _, spans := range x.spans {
		for _, s := range spans {
			if x.theirs(s.owner) && s.from.After(last) {
				last = s.from
			}
		}
	}
	if x.now.After(last) {
		last = x.now
	}
	e.Until = last.Truncate(time.Millisecond).Add(time.Millisecond)
	if e.Forever {
		e.Until = event.Forever
	}
	for _, node := range x.nodes() {
		spans := x.spans[node]
		for i, s := range spans {
			if !x.theirs(s.owner) {
				continue
			}
			n := ErasedNode{Node: node, Erasure: event.Erasure{From: s.from.UTC(), At: e.Until}}
			if i+1 < len(spans) {
				n.Until = spans[i+1].from
			}
			e.Nodes = append(e.Nodes, n)
		}
	}
}

// adopt adds to an erasure what the store has of its profiles and it does not name: a backup may be of
// before they lost it.
func (x *eraser) adopt() {
	e := x.e
	e.State = ErasureStored
	e.FinishedAt = nil
	named := e.byNode()
	for _, node := range x.nodes() {
		if named[node] != nil {
			continue
		}
		e.Nodes = append(e.Nodes, ErasedNode{Node: node, Erasure: event.Erasure{At: e.Until}})
	}
}

// nodes are those concerned, in order.
func (x *eraser) nodes() []uuid.UUID {
	return slices.SortedFunc(maps.Keys(x.spans), identity.CompareIDs)
}

// count tells what else there is.
func (x *eraser) count(ctx context.Context) error {
	e := x.e
	batch := x.tx.Batch()
	for _, c := range []struct{ table, statement string }{
		{"attribute_changes", eraseCountLineage}, {"orders", eraseCountOrders}, {"profile_merges", eraseCountMerges},
	} {
		batch.Queue(c.statement, e.TenantID, uuidColumn(e.Profiles)).QueryRow(func(row pgx.Row) error {
			var n int64
			err := row.Scan(&n)
			e.StateStore[c.table] = n
			return err
		})
	}
	return x.tx.Send(ctx, batch)
}

// save writes it.
func (x *eraser) save(ctx context.Context) error {
	e, never := x.e, time.Time{}
	grave := event.GraveID(e.TenantID)
	profiles := uuidColumn(e.Profiles)
	var blank, marked, owners uuids
	var blankErased, markedErased texts
	erased := e.byNode()
	for _, node := range x.nodes() {
		all, present := event.Erasures(nil), nodeSpan{}
		if i := slices.IndexFunc(x.spans[node], func(s nodeSpan) bool { return s.present }); i >= 0 {
			present = x.spans[node][i]
			all = present.erased
		}
		for _, part := range erased[node] {
			all = all.With(part)
		}
		text, err := json.Marshal(all)
		if err != nil {
			return fmt.Errorf("write what is erased of an identifier: %w", err)
		}
		switch {
		case !present.present, x.theirs(present.owner):
			blank, blankErased = append(blank, uuidElement(node)), append(blankErased, textElement(text))
		default:
			marked, markedErased = append(marked, uuidElement(node)), append(markedErased, textElement(text))
			if present.kind != nobodys {
				owners = append(owners, uuidElement(present.owner))
			}
		}
	}
	batch := x.tx.Batch()
	batch.Queue(eraseGrave, e.TenantID, grave, never)
	batch.Queue(eraseMergesLost, e.TenantID, profiles)
	batch.Queue(eraseMergesUndone, e.TenantID, profiles)
	batch.Queue(eraseSpans, e.TenantID, profiles)
	batch.Queue(eraseBlankProfiles, e.TenantID, profiles, grave, never, x.now)
	batch.Queue(eraseBlankIdentifiers, e.TenantID, grave, blank, blankErased, never)
	batch.Queue(eraseMarkIdentifiers, e.TenantID, marked, markedErased).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(len(marked)) {
			return stale{}
		}
		return nil
	})
	batch.Queue(eraseTouchProfiles, e.TenantID, owners)
	if err := e.queue(batch); err != nil {
		return err
	}
	return x.tx.Send(ctx, batch)
}

func distinctIDs(ids []uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, identity.CompareIDs)
	return slices.Compact(ids)
}
