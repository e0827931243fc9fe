package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	unmergeRecord      = sql.Statement("unmerge_record")
	unmergeProfiles    = sql.Statement("unmerge_profiles")
	unmergeWent        = sql.Statement("unmerge_went")
	unmergeLater       = sql.Statement("unmerge_later")
	unmergeIdentifiers = sql.Statement("unmerge_identifiers")
	unmergeSpans       = sql.Statement("unmerge_spans")
	unmergeOrders      = sql.Statement("unmerge_orders")
	unmergeLineage     = sql.Statement("unmerge_lineage")
	unmergeFollowers   = sql.Statement("unmerge_followers")
	unmergeAmend       = sql.Statement("unmerge_amend")
	unmergeDone        = sql.Statement("unmerge_done")
)

// UnmergeSource is the source that changes by Unmerge name: no topic, but it has a row of offsets and
// an outbox like one. Its only partition is 0.
const UnmergeSource = "keystone.unmerge"

var (
	// ErrUnknownMerge says that a tenant has no merge of that id.
	ErrUnknownMerge = errors.New("no such merge")
	// ErrUndone says that the merge was taken back before.
	ErrUndone = errors.New("the merge was taken back already")
)

// unmergeAttempts bounds how often an Unmerge is tried again whose commit nobody acknowledged.
const unmergeAttempts = 3

// Unmerge takes a merge back, whole or not at all. What it changed is in the outbox of UnmergeSource
// and has to be produced by the caller. The errors to tell apart are ErrUnknownMerge, ErrUndone, and
// apply's ErrNothingReturns and ErrNothingStays.
func (s *Store) Unmerge(ctx context.Context, tenant, merge uuid.UUID) (*apply.Unmerging, error) {
	var report apply.Unmerging
	uncertain := false
	for attempt := 1; ; attempt++ {
		_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
			done, err := s.unmerge(ctx, tx, tenant, merge)
			if err == nil {
				report = done.Report
			}
			return err
		})
		switch {
		case err == nil, uncertain && errors.Is(err, ErrUndone):
			return &report, nil // the commit that nobody acknowledged had happened
		case !ambiguous(err) || attempt == unmergeAttempts:
			return nil, fmt.Errorf("take merge %s back: %w", merge, err)
		}
		uncertain = true
	}
}

// unmerge is one attempt.
func (s *Store) unmerge(ctx context.Context, tx *Tx, tenant, merge uuid.UUID) (*apply.Unmerged, error) {
	now := s.now()
	b := &Batch{Claim: Claim{Topic: UnmergeSource}}
	var body []byte
	var undone *time.Time
	batch := tx.Batch()
	batch.Queue(offsetClaim, UnmergeSource, int32(0), "unmerge", time.Time{}).QueryRow(func(row pgx.Row) error {
		return row.Scan(&b.Offset, &b.Claim.Epoch)
	})
	batch.Queue(unmergeRecord, tenant, merge).QueryRow(func(row pgx.Row) error { return row.Scan(&body, &undone) })
	if err := tx.Send(ctx, batch); errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrUnknownMerge
	} else if err != nil {
		return nil, err
	}
	if undone != nil {
		return nil, ErrUndone
	}
	b.NextOffset = b.Offset + 1
	l := undoLoader{tx: tx, tenant: tenant, rows: &rows{}, undo: &apply.Undo{}}
	if err := json.Unmarshal(body, &l.undo.Merge); err != nil {
		return nil, fmt.Errorf("read the merge's record: %w", err)
	}
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	r, err := apply.Unmerge(l.undo, now)
	if err != nil {
		return nil, err
	}
	if err := saveUnmerged(ctx, tx, tenant, merge, r, now); err != nil {
		return nil, err
	}
	source := outbox.Source{Topic: UnmergeSource, NextOffset: b.NextOffset}
	records, err := outbox.Changes(nil, source, r.Changes())
	if err != nil {
		return nil, err
	}
	rest := tx.Batch()
	if err := save(rest, b, l.rows, &r.Result, records, now); err != nil {
		return nil, err
	}
	return r, tx.Send(ctx, rest)
}

// saveUnmerged writes what an unmerge has beside the rows of a batch.
func saveUnmerged(ctx context.Context, tx *Tx, tenant, merge uuid.UUID, r *apply.Unmerged, now time.Time) error {
	batch := tx.Batch()
	batch.Queue(unmergeDone, tenant, merge, now).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != 1 {
			return ErrUndone
		}
		return nil
	})
	if len(r.Followers) > 0 {
		batch.Queue(unmergeFollowers, tenant, uuidColumn(r.Followers), r.Report.LoserID)
	}
	for i := range r.Later {
		text, err := new(saver).json(&r.Later[i])
		if err != nil {
			return err
		}
		batch.Queue(unmergeAmend, tenant, r.Later[i].MergeID, string(text))
	}
	return tx.Send(ctx, batch)
}

func uuidColumn(ids []uuid.UUID) uuids {
	c := make(uuids, len(ids))
	for i, id := range ids {
		c[i] = uuidElement(id)
	}
	return c
}

// undoLoader loads what an unmerge concerns, in a handful of round trips.
type undoLoader struct {
	tx     *Tx
	tenant uuid.UUID
	rows   *rows
	undo   *apply.Undo
	later  map[uuid.UUID]uuid.UUID // merge ids in force, by loser
}

func (l *undoLoader) load(ctx context.Context) error {
	u := l.undo
	loser, err := l.profiles(ctx, u.Merge.LoserID)
	if err != nil {
		return err
	}
	u.Loser = loser[0]
	if u.Loser.MergedInto == uuid.Nil {
		return fmt.Errorf("profile %s is live, although its merge is in force", u.Loser.ID)
	}
	live, err := l.profiles(ctx, u.Loser.MergedInto)
	if err != nil {
		return err
	}
	u.Live = live[0]
	if err := l.went(ctx); err != nil {
		return err
	}
	if err := l.passed(ctx); err != nil {
		return err
	}
	return l.moved(ctx)
}

// profiles locks and answers profiles, all of which must be there.
func (l *undoLoader) profiles(ctx context.Context, ids ...uuid.UUID) ([]*identity.Profile, error) {
	found := make(map[uuid.UUID]*identity.Profile, len(ids))
	batch := l.tx.Batch()
	batch.Queue(unmergeProfiles, l.tenant, uuidColumn(ids)).Query(func(r pgx.Rows) error {
		var row profileRow
		columns := row.columns()
		for r.Next() {
			if err := r.Scan(columns...); err != nil {
				return err
			}
			var one rows
			if err := one.addOwner(&row); err != nil {
				return err
			}
			found[row.ID] = &one.profiles[0]
		}
		return nil
	})
	if err := l.tx.Send(ctx, batch); err != nil {
		return nil, err
	}
	all := make([]*identity.Profile, len(ids))
	for i, id := range ids {
		if all[i] = found[id]; all[i] == nil {
			return nil, fmt.Errorf("profile %s of a merge is not there", id)
		}
	}
	return all, nil
}

func (l *undoLoader) went(ctx context.Context) error {
	l.undo.Went, l.later = map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]uuid.UUID{}
	batch := l.tx.Batch()
	batch.Queue(unmergeWent, l.tenant, l.undo.Live.ID).Query(func(r pgx.Rows) error {
		for r.Next() {
			var loser, winner, merge uuid.UUID
			if err := r.Scan(&loser, &winner, &merge); err != nil {
				return err
			}
			l.undo.Went[loser], l.later[loser] = winner, merge
		}
		return nil
	})
	return l.tx.Send(ctx, batch)
}

// passed loads the merges by which the winner went on to the live profile.
func (l *undoLoader) passed(ctx context.Context) error {
	u := l.undo
	u.Passed = map[uuid.UUID]*identity.Profile{}
	way, ok := apply.Way(u.Went, u.Merge.WinnerID, u.Live.ID)
	if !ok {
		return fmt.Errorf("the records do not tell how profile %s went into %s", u.Merge.WinnerID, u.Live.ID)
	}
	if len(way) == 0 {
		return nil
	}
	tombstones, err := l.profiles(ctx, way...)
	if err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(way))
	for i, tombstone := range way {
		u.Passed[tombstone], ids[i] = tombstones[i], l.later[tombstone]
	}
	batch := l.tx.Batch()
	batch.Queue(unmergeLater, l.tenant, uuidColumn(ids)).Query(func(r pgx.Rows) error {
		for r.Next() {
			var body []byte
			var m event.Merge
			if err := r.Scan(&body); err != nil {
				return err
			}
			if err := json.Unmarshal(body, &m); err != nil {
				return fmt.Errorf("read a merge's record: %w", err)
			}
			u.Later = append(u.Later, m)
		}
		return nil
	})
	if err := l.tx.Send(ctx, batch); err != nil {
		return err
	}
	slices.SortFunc(u.Later, func(a, b event.Merge) int {
		return slices.Index(way, a.LoserID) - slices.Index(way, b.LoserID)
	})
	return nil
}

// moved loads what the merge moved, as it is now, and the lineage since.
func (l *undoLoader) moved(ctx context.Context) error {
	u := l.undo
	nodes := make([]uuid.UUID, len(u.Merge.MovedIdentifiers))
	for i, moved := range u.Merge.MovedIdentifiers {
		nodes[i] = moved.Node
	}
	slices.SortFunc(nodes, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	nodes = slices.Compact(nodes)
	keys := make([]uuid.UUID, len(u.Merge.MovedOrders))
	for i, id := range u.Merge.MovedOrders {
		keys[i] = keyOf(id)
	}
	batch := l.tx.Batch()
	batch.Queue(unmergeIdentifiers, l.tenant, uuidColumn(nodes)).Query(l.rows.addIdentifiers)
	batch.Queue(unmergeSpans, l.tenant, uuidColumn(nodes)).Query(l.rows.addSpans)
	batch.Queue(unmergeOrders, l.tenant, uuidColumn(keys)).Query(l.rows.addOrders)
	u.Lineage = map[uuid.UUID][]event.AttributeChange{}
	for _, m := range append([]event.Merge{u.Merge}, u.Later...) {
		batch.Queue(unmergeLineage, l.tenant, m.WinnerID, m.Winner.Version+1).Query(func(r pgx.Rows) error {
			for r.Next() {
				var text []byte
				var changes []event.AttributeChange
				if err := r.Scan(&text); err != nil {
					return err
				}
				if err := json.Unmarshal(text, &changes); err != nil {
					return fmt.Errorf("read lineage: %w", err)
				}
				u.Lineage[m.WinnerID] = append(u.Lineage[m.WinnerID], changes...)
			}
			return nil
		})
	}
	if err := l.tx.Send(ctx, batch); err != nil {
		return err
	}
	st := l.rows.state(nil)
	u.Identifiers, u.Spans = st.Identifiers, st.Spans
	u.Orders = make(map[string]*event.OrderState, len(st.Orders))
	for key, o := range st.Orders {
		u.Orders[key.ID] = o
	}
	return nil
}
