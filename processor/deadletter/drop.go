package deadletter

import (
	"context"
	"errors"
	"iter"

	"github.com/keystone-cdp/keystone/processor/store"
)

// Drop settles letters without replaying them, and writes down why. Those that are open, or that a
// replay left half done, can be dropped; report hears of each. Their records stay in keystone.dlq
// until retention takes them.
func (q *Queue) Drop(ctx context.Context, letters iter.Seq2[store.DeadLetterRow, error], why string, report func(Result)) error {
	if why == "" {
		return errors.New("say why: what is dropped is never looked at again")
	}
	return inPages(letters, func(page []store.DeadLetterRow) error { return q.drop(ctx, page, why, report) })
}

func (q *Queue) drop(ctx context.Context, page []store.DeadLetterRow, why string, report func(Result)) error {
	now := q.now()
	var changes []store.DeadLetterChange
	for i := range page {
		l := &page[i]
		if err := settled(l); err != nil && l.State != store.DeadLetterReplaying {
			report(Result{Letter: l, Err: err})
			continue
		}
		c := store.DeadLetterChange{DeadLetterRow: *l, From: l.State}
		c.State, c.ChangedAt, c.ChangedBy, c.Why = store.DeadLetterDropped, &now, q.by, why
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil
	}
	done, err := q.store.ChangeDeadLetters(ctx, changes)
	if err != nil {
		return err
	}
	for i := range page {
		l := &page[i]
		if _, ok := done[l.Key()]; ok {
			report(Result{Letter: l})
		} else if settled(l) == nil || l.State == store.DeadLetterReplaying {
			report(Result{Letter: l, Err: errTaken})
		}
	}
	return nil
}
