package store

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
)

// Optimistic concurrency control (Kung and Robinson, 1981): read, compute, then validate and write in
// one transaction that reads nothing. So two partitions' transactions meet only where both write the
// same row; on PostgreSQL, whose SERIALIZABLE watches pages of indexes for reads, any two that read
// would. And what was remembered from earlier batches need not be read at all.
//
// What was read is validated by what is written, without a statement of its own:
//   - every profile that was read is written, if its revision is as it was read;
//   - an identifier, span or order changes its owner, or comes to one, only together with both
//     owners' profiles: so their revisions vouch for it, and for the list of what a profile owns;
//   - what was not there, message ids among it, is inserted, and must not be there;
//   - a product that is not written would not be with any later state of it: its fields only fill;
//   - the offset moves from where the batch begins, under the claim's epoch.
//
// A batch that read something it does not write (a refused link, say) is not covered by this and is
// done with locks, as is one that was found stale. Rows are never deleted while there may be a batch
// that has read them: a deleted profile's write would insert it again.

// stale ends an optimistic attempt. It is a serialization failure like the servers' own: the loop
// runs the batch again.
type stale struct{}

func (stale) Error() string    { return "what was read has changed meanwhile" }
func (stale) SQLState() string { return "40001" }

// optimistic is an attempt of one round trip where everything is remembered, and a COMMIT; and of one
// more where something has to be read before.
func (a *attempted) optimistic(ctx context.Context, tx *Tx, at standing) error {
	if err := a.read(ctx, tx, at); err != nil {
		return err
	}
	err := a.fold(a.p.events, func(keys []apply.ProfileKey) error {
		more := &pgx.Batch{}
		a.rows.queueOwned(more, keys)
		return tx.read(ctx, more)
	})
	if a.rows.torn || err == nil && !a.covered() {
		return stale{}
	}
	if err != nil {
		return errors.Join(stale{}, err) // computed from what may never have been there together
	}
	if err := a.records(); err != nil {
		return err
	}
	batch := tx.Batch()
	if len(a.p.distinct) > 0 {
		batch.Queue(seenAdd, a.p.hashes(), a.now.Add(a.store.cfg.SeenFor))
	}
	if err := save(batch, a.b, a.rows, a.result, a.out.Records, a.now); err != nil {
		return err
	}
	err = tx.Send(ctx, batch)
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, ErrFenced): // or landed: the attempt with locks can tell
		return stale{}
	case errors.As(err, &pg) && pg.Code == uniqueViolation: // a message was counted, an identifier made, or the version of a stale profile has its lineage
		return stale{}
	}
	return err
}

const uniqueViolation = "23505"

// withoutRepetitions asks which messages the store knows, and prepares the batch again without them. It
// is one more round trip, for when there may be some that this process does not remember: writing one
// fails the attempt.
func (a *attempted) withoutRepetitions(ctx context.Context, tx *Tx) error {
	if len(a.p.distinct) == 0 {
		return nil
	}
	var known [][16]byte
	batch := &pgx.Batch{}
	batch.Queue(seenRead, a.p.hashes()).Query(func(rows pgx.Rows) (err error) {
		known, err = pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		return err
	})
	if err := tx.read(ctx, batch); err != nil || len(known) == 0 {
		return err
	}
	a.store.memory.repeated(known)
	a.p = a.store.prepare(a.b)
	return nil
}

// wrote checks that a statement wrote so many rows: what it leaves out is not as it was read.
func wrote(n int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(n) {
			return stale{}
		}
		return nil
	}
}

// covered tells that all that was read is validated by what is written.
func (a *attempted) covered() bool {
	st := a.rows.folded
	for i := range a.rows.profiles {
		if p := st.Profiles[a.rows.profiles[i].ID]; !p.Touched() {
			return false
		}
	}
	for _, k := range a.rows.keys.Nodes {
		if st.Identifiers[k.Node] == nil && !a.erased(k.Node) {
			return false
		}
	}
	if !inserted(a.rows.keys.Orders, a.rows.orderRevisions, a.result.Orders, func(o apply.Order) apply.OrderKey {
		return apply.OrderKey{Tenant: o.Tenant, ID: o.OrderID}
	}) {
		return false
	}
	return inserted(a.rows.keys.Products, a.rows.productRevisions, a.result.Products, func(p apply.Product) apply.ProductKey {
		return apply.ProductKey{Tenant: p.Tenant, ID: p.ProductID}
	})
}

// erased tells that an identifier which is nobody's is named by none but events that are erased. What is
// erased stays so: it needs no more validation.
func (a *attempted) erased(node uuid.UUID) bool {
	st := a.rows.folded
	if _, ok := st.Gone[node]; !ok {
		return false
	}
	names := func(id event.Identifier) bool { return id.Node == node }
	for i := range a.p.events {
		e := &a.p.events[i]
		if (slices.ContainsFunc(e.IDs.Anonymous, names) || slices.ContainsFunc(e.IDs.Verified, names)) && !st.Erases(e) {
			return false
		}
	}
	return true
}

// inserted tells that every key that was not there is among what is written.
func inserted[K comparable, W any](keys []K, there map[K]int64, written []W, key func(W) K) bool {
	if len(there) == len(keys) {
		return true
	}
	writes := make(map[K]struct{}, len(written))
	for _, w := range written {
		writes[key(w)] = struct{}{}
	}
	for _, k := range keys {
		if _, ok := there[k]; ok {
			continue
		}
		if _, ok := writes[k]; !ok {
			return false
		}
	}
	return true
}
