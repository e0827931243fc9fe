package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
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
	Erased     int // events of people who are erased: they did nothing
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
	p := s.prepare(b)
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

// optimisticAttempts is how often a batch is tried without locks: once from memory, once as the store
// has it now.
const optimisticAttempts = 2

// attempt tries it without reading in the transaction first, where it is known how the partition
// stands; if that meets others, with locks.
func (s *Store) attempt(ctx context.Context, b *Batch, p *prepared) (out Outcome, err error) {
	giveBack, err := s.takeTurn(ctx)
	if err != nil {
		return out, err
	}
	defer giveBack()
	var done *attempted
	at, known := s.memory.standing(b)
	tries := 0
	defer func() { done.end() }()
	retries, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		done.end()
		done = &attempted{store: s, b: b, p: p, now: s.now()}
		if tries++; tries > 1 {
			s.memory.forget(b, &p.keys)
			p = s.prepare(b)
			done.p = p
		}
		if known && tries <= optimisticAttempts {
			if tries > 1 || s.memory.repeating() {
				if err := done.withoutRepetitions(ctx, tx); err != nil {
					return err
				}
				p = done.p
			}
			return done.optimistic(ctx, tx, at)
		}
		return done.locked(ctx, tx)
	})
	if done != nil {
		out = done.out
	}
	switch {
	case err == nil:
		s.memory.committed(b, p, done.rows, done.result, done.now)
	case errors.Is(err, errLanded):
		s.memory.forget(b, &p.keys)
		return Outcome{Landed: true, Retries: retries}, nil
	default:
		s.memory.forget(b, &p.keys)
		err = fmt.Errorf("apply %s/%d up to %d: %w", b.Claim.Topic, b.Claim.Partition, b.NextOffset, err)
	}
	out.Retries = retries
	return out, err
}

// prepared is what of a batch does not change from one attempt to the next.
type prepared struct {
	events   []apply.Event // the first of each message id, but for those remembered as committed
	distinct []messageKey  // of events, sorted
	keys     apply.Keys    // of events
}

// messageKey is one row of message_ids, and the event that has it.
type messageKey struct {
	hash  uuid.UUID
	event int // in prepared.events
}

func (s *Store) prepare(b *Batch) *prepared {
	all := make([]messageKey, len(b.Events))
	for i := range b.Events {
		e := &b.Events[i]
		all[i] = messageKey{messageHash(e.Tenant, e.MessageID), i}
	}
	counted := s.memory.seen(all)
	first := make(map[uuid.UUID]struct{}, len(all))
	p := &prepared{events: b.Events, distinct: all[:0]}
	for i, k := range all {
		if _, again := first[k.hash]; again || counted[i] {
			continue
		}
		first[k.hash] = struct{}{}
		p.distinct = append(p.distinct, k)
	}
	if len(p.distinct) < len(b.Events) {
		p.events = make([]apply.Event, len(p.distinct))
		for n := range p.distinct {
			p.events[n] = b.Events[p.distinct[n].event]
			p.distinct[n].event = n
		}
	}
	p.keys = apply.KeysOf(p.events)
	slices.SortFunc(p.distinct, func(a, b messageKey) int { return bytes.Compare(a.hash[:], b.hash[:]) })
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

// attempted is one attempt at a batch, and what came of it.
type attempted struct {
	store  *Store
	b      *Batch
	p      *prepared
	now    time.Time
	rows   *rows
	result *apply.Result
	out    Outcome
	leave  func() // what others wait for; nil: nothing
}

func (a *attempted) end() {
	if a != nil && a.leave != nil {
		a.leave()
		a.leave = nil
	}
}

// locked is the attempt that reads in its transaction and locks what it reads: fence, message ids and
// loading are one round trip, writing is another, COMMIT the third.
func (a *attempted) locked(ctx context.Context, tx *Tx) error {
	giveBack, err := a.store.lockTurn(ctx)
	if err != nil {
		return err
	}
	a.leave = giveBack // after the COMMIT: until then it is as much in the others' way
	a.rows = &rows{keys: a.p.keys}
	fresh, err := a.store.open(ctx, tx, a.b, a.p, a.rows, a.now)
	if err != nil {
		return err
	}
	if err := a.fold(freshEvents(a.p, fresh), func(keys []apply.ProfileKey) error {
		batch := tx.Batch()
		a.rows.queueOwned(batch, keys)
		return tx.Send(ctx, batch)
	}); err != nil {
		return err
	}
	if err := a.records(); err != nil {
		return err
	}
	batch := tx.Batch()
	if err := save(batch, a.b, a.rows, a.result, a.out.Records, a.now); err != nil {
		return err
	}
	return tx.Send(ctx, batch)
}

// fold computes what the events do. more loads all that some profiles own.
func (a *attempted) fold(events []apply.Event, more func([]apply.ProfileKey) error) error {
	a.out = Outcome{Applied: len(events), Duplicates: len(a.b.Events) - len(events)}
	var missing *apply.Missing
	var err error
	a.result, missing, err = run(a.rows.state(a.b.Settings), events, a.now)
	if err == nil && missing != nil {
		if err = more(missing.Profiles); err == nil {
			a.result, missing, err = run(a.rows.state(a.b.Settings), events, a.now)
		}
	}
	switch {
	case err != nil:
		return err
	case missing != nil:
		return fmt.Errorf("fold %d events: %d profiles own more than the store has", len(events), len(missing.Profiles))
	}
	count(&a.out, a.result)
	return nil
}

// records are what has to be produced once the batch is committed.
func (a *attempted) records() error {
	c := a.b.Claim
	source := outbox.Source{Topic: c.Topic, Partition: c.Partition, NextOffset: a.b.NextOffset, Traces: a.traces()}
	records, err := outbox.Changes(nil, source, a.result.Changes())
	for i := range a.b.Dead {
		records = append(records, a.b.Dead[i].Record)
	}
	a.out.Records = records
	return err
}

// traces are the contexts of traced events by the profiles they belong to; of several of one profile
// the last. Nil is none.
func (a *attempted) traces() (by map[uuid.UUID]string) {
	for i := range a.p.events {
		e := &a.p.events[i]
		if e.Trace == "" {
			continue
		}
		named := e.IDs.Verified
		if len(named) == 0 {
			named = e.IDs.Anonymous
		}
		if owned := a.rows.folded.Identifiers[named[0].Node]; owned != nil {
			if by == nil {
				by = map[uuid.UUID]string{}
			}
			by[owned.ProfileID] = e.Trace
		}
	}
	return by
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

// freshEvents are those that count: whose message id was not seen before.
func freshEvents(p *prepared, fresh map[uuid.UUID]struct{}) []apply.Event {
	if len(fresh) == len(p.events) {
		return p.events
	}
	counts := make([]bool, len(p.events))
	for _, k := range p.distinct {
		_, counts[k.event] = fresh[k.hash]
	}
	kept := make([]apply.Event, 0, len(fresh))
	for i := range p.events {
		if counts[i] {
			kept = append(kept, p.events[i])
		}
	}
	return kept
}

func count(out *Outcome, r *apply.Result) {
	out.Applied, out.Erased, out.Merges = out.Applied-r.Erased, r.Erased, len(r.Merges)
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
