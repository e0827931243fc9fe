package store

import (
	"context"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// inflight keeps this process's batches out of each other's way: of two that concern the same people,
// the second waits, and reads what the first has made of them, rather than being found stale after it
// has written. It is courtesy only: other processes know nothing of it, and the store decides.
type inflight struct {
	mu   sync.Mutex
	busy map[uuid.UUID]chan struct{} // profiles and nodes; closed when their batch is done
}

// enter takes ids for a batch; or answers what to wait for, and takes nothing.
func (f *inflight) enter(ids []uuid.UUID) (leave func(), wait <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if done, ok := f.busy[id]; ok {
			return nil, done
		}
	}
	done := make(chan struct{})
	for _, id := range ids {
		f.busy[id] = done
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, id := range ids {
			delete(f.busy, id)
		}
		close(done)
	}, nil
}

// patience is how often a batch gives way before it goes ahead all the same.
const patience = 8

// read fills a.rows: from memory, and from the store what is not there. It enters the batch, which has
// to leave when the attempt is over and remembered.
func (a *attempted) read(ctx context.Context, tx *Tx, at standing) error {
	for range patience {
		a.rows = &rows{keys: a.p.keys, lastCreatedAt: at.lastCreatedAt, unlocked: true}
		rest := a.store.memory.recall(a.rows)
		batch := &pgx.Batch{}
		a.rows.queue(batch, &rest, identifierRead, orderRead)
		if err := tx.read(ctx, batch); err != nil {
			return err
		}
		leave, wait := a.store.busy.enter(a.rows.concerned())
		if wait == nil {
			a.leave = leave
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// concerned are the identifiers a batch names, and their owners.
func (l *rows) concerned() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(l.keys.Nodes)+len(l.profiles))
	for _, k := range l.keys.Nodes {
		ids = append(ids, k.Node)
	}
	for i := range l.profiles {
		ids = append(ids, l.profiles[i].ID)
	}
	return ids
}
