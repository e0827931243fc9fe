package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/outbox"
)

// Batch is a contiguous piece of one partition of the log, decoded.
type Batch struct {
	Claim      Claim
	Offset     int64 // where the partition stands: the batch begins here or, past a hole in the log, later
	NextOffset int64 // where it will stand: one more than the last record's offset
	Events     []apply.Event
	Settings   map[uuid.UUID]*event.Settings // of the tenants in Events
	Dead       []DeadLetter
}

// DeadLetter is a record that cannot be processed. It goes to the dead-letter queue with the batch.
type DeadLetter struct {
	Tenant   uuid.UUID // uuid.Nil where the record names none
	Offset   int64
	JobID    string // empty: not of an HTTP batch
	Reason   string // of a closed set
	Detail   string // says what is wrong, and quotes nothing
	Attempts int    // this failure, and those before the replays that led to it
	Record   outbox.Record
}

// Outcome is what a batch did, for counting after the commit.
type Outcome struct {
	Applied    int // events that counted
	Duplicates int // events whose message id was there already
	Merges     int // collapses included
	Conflicts  map[identity.Reason]int
	Lineage    int // attribute changes
	Retries    int // of the transaction
	// Records are to be produced now, under the source offset NextOffset. Nil with Landed.
	Records []outbox.Record
	// Landed says that an earlier attempt at this batch had been committed without anybody knowing:
	// its records are in the outbox, and what it counted is not known.
	Landed bool
}

// Apply applies a batch whole or not at all. ErrFenced means that the partition has another owner;
// Classify tells what to do about other errors, after all of which nothing was applied.
func (s *Store) Apply(ctx context.Context, b *Batch) (Outcome, error) {
	p := prepare(b)
	out, err := s.attempt(ctx, b, p)
	if err == nil || !ambiguous(err) {
		return out, err
	}
	landed, lookErr := s.landed(ctx, b)
	if lookErr != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errors.Join(errUncertain, lookErr), err)
	}
	if landed {
		return out, nil // the attempt that was not acknowledged is the last one, and out is its outcome
	}
	return Outcome{}, fmt.Errorf("%w: it was not", errUncertain)
}

func (s *Store) attempt(ctx context.Context, b *Batch, p *prepared) (out Outcome, err error) {
	giveBack, err := s.takeTurn(ctx)
	if err != nil {
		return out, err
	}
	defer giveBack()
	retries, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		out = Outcome{}
		return s.fold(ctx, tx, b, p, &out)
	})
	if errors.Is(err, errLanded) {
		return Outcome{Landed: true, Retries: retries}, nil
	}
	out.Retries = retries
	if err != nil {
		err = fmt.Errorf("apply %s/%d up to %d: %w", b.Claim.Topic, b.Claim.Partition, b.NextOffset, err)
	}
	return out, err
}

// prepared is what of a batch does not change from one attempt to the next.
type prepared struct {
	distinct []messageKey // sorted
	keys     apply.Keys
}

// messageKey is one row of seen_messages, and the first event of the batch that has it.
type messageKey struct {
	tenant, hash uuid.UUID
	event        int
}

func prepare(b *Batch) *prepared {
	p := &prepared{keys: apply.KeysOf(b.Events)}
	first := make(map[uuid.UUID]struct{}, len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		h := messageHash(e.Tenant, e.MessageID)
		if _, again := first[h]; !again {
			first[h] = struct{}{}
			p.distinct = append(p.distinct, messageKey{e.Tenant, h, i})
		}
	}
	sortMessageKeys(p.distinct)
	return p
}

// messageHash names a message of a tenant. It is unique across tenants, and random: the clients make
// the ids up, and must not be able to make two hashes meet.
func messageHash(tenant uuid.UUID, messageID string) uuid.UUID {
	buf := make([]byte, 0, 16+128)
	buf = append(buf, tenant[:]...)
	buf = append(buf, messageID...)
	sum := sha256.Sum256(buf)
	return uuid.UUID(sum[:16])
}

// errLanded ends an attempt that finds its own batch committed.
var errLanded = errors.New("the batch was committed before")

// fold is one attempt: fence, remember message ids and load in one round trip; compute; write in
// another; COMMIT is the third.
func (s *Store) fold(ctx context.Context, tx *Tx, b *Batch, p *prepared, out *Outcome) error {
	now := s.now()
	l := &rows{keys: p.keys}
	fresh, err := s.open(ctx, tx, b, p, l, now)
	if err != nil {
		return err
	}
	events := freshEvents(b.Events, p, fresh)
	out.Applied, out.Duplicates = len(events), len(b.Events)-len(events)
	result, missing, err := run(l.state(b.Settings), events, now)
	if err == nil && missing != nil {
		if err = l.more(ctx, tx, missing.Profiles); err == nil {
			result, missing, err = run(l.state(b.Settings), events, now)
		}
	}
	switch {
	case err != nil:
		return err
	case missing != nil:
		return fmt.Errorf("fold %d events: %d profiles own more than the store has", len(events), len(missing.Profiles))
	}
	if out.Records, err = outbox.Changes(nil, outbox.Source{Topic: b.Claim.Topic, Partition: b.Claim.Partition, NextOffset: b.NextOffset}, result.Changes()); err != nil {
		return err
	}
	for i := range b.Dead {
		out.Records = append(out.Records, b.Dead[i].Record)
	}
	count(out, result)
	return s.save(ctx, tx, b, result, out.Records, now)
}

// run keeps a bug in the fold from stopping the partition: one event that makes it panic is as good
// as one that cannot be stored.
func run(st *apply.State, events []apply.Event, now time.Time) (r *apply.Result, m *apply.Missing, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Stack: debug.Stack()}
		}
	}()
	r, m = apply.Run(st, events, now)
	return r, m, nil
}

// PanicError is a panic of the pure fold: a bug. Its value is not kept, for it may quote an event.
type PanicError struct{ Stack []byte }

func (e *PanicError) Error() string { return "the fold panicked" }

// freshEvents are those that count: the first of each message id, if it was not seen before.
func freshEvents(events []apply.Event, p *prepared, fresh map[uuid.UUID]struct{}) []apply.Event {
	if len(fresh) == len(events) {
		return events
	}
	counts := make([]bool, len(events))
	for _, k := range p.distinct {
		_, counts[k.event] = fresh[k.hash]
	}
	kept := make([]apply.Event, 0, len(fresh))
	for i := range events {
		if counts[i] {
			kept = append(kept, events[i])
		}
	}
	return kept
}

func count(out *Outcome, r *apply.Result) {
	out.Merges = len(r.Merges)
	for _, l := range r.Lineage {
		out.Lineage += len(l.Changes)
	}
	for _, c := range r.Conflicts {
		if out.Conflicts == nil {
			out.Conflicts = map[identity.Reason]int{}
		}
		out.Conflicts[c.Reason]++
	}
}

// landed asks, on a connection of its own, whether a commit that nobody acknowledged happened. The
// answer may be too early: a COMMIT under way may still succeed. Then the next attempt at the batch
// waits for it, and finds the row moved.
func (s *Store) landed(ctx context.Context, b *Batch) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Recheck)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, maxBackoff) {
		next, epoch, err := s.position(ctx, b.Claim.Topic, b.Claim.Partition)
		switch {
		case err == nil && epoch != b.Claim.Epoch:
			return false, ErrFenced
		case err == nil:
			return next == b.NextOffset, nil
		case Classify(err) != Retry:
			return false, err
		}
		if sleepErr := sleep(ctx, wait); sleepErr != nil {
			return false, err
		}
	}
}
