package deadletter

import (
	"context"
	"errors"

	"github.com/keystone-cdp/keystone/processor/store"
)

// Outcome is how a replay ended.
type Outcome string

// The outcomes.
const (
	Waiting     Outcome = "waiting"      // the processor has not come to it
	Processed   Outcome = "processed"    // applied, or known already by its message id
	FailedAgain Outcome = "failed_again" // there is a dead letter of its new place
)

// Outcome tells how a letter's replay ended; empty where it has none.
func (q *Queue) Outcome(ctx context.Context, l *store.DeadLetterRow) (Outcome, error) {
	as, ok := ReplayOf(l)
	if !ok {
		return "", nil
	}
	// The position first: a letter is written in the transaction that moves it.
	next, err := q.store.Processed(ctx, as.Topic, as.Partition)
	if err != nil {
		return "", err
	}
	_, err = q.Find(ctx, as, &l.TenantID)
	switch {
	case err == nil:
		return FailedAgain, nil
	case !errors.Is(err, ErrUnknown):
		return "", err
	case next > as.Offset:
		return Processed, nil
	}
	return Waiting, nil
}
