package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/processor/store"
)

// ReplayOptions say how.
type ReplayOptions struct {
	Again  bool // also letters that were replayed, dropped, or left half replayed
	DryRun bool // only look whether each could be
}

// finishTimeout bounds what follows once letters are claimed: an interrupt does not leave them so.
const finishTimeout = time.Minute

// Replay produces letters' records again, to the partitions they came from. report hears of each; the
// error is about the whole, and what was reported before it is done.
//
// The letters may come from a listing that goes on meanwhile: what fails again is not taken a second
// time.
func (q *Queue) Replay(ctx context.Context, letters iter.Seq2[store.DeadLetterRow, error], o ReplayOptions, report func(Result)) error {
	r := replayer{Queue: q, ReplayOptions: o, report: report, first: map[ID]int64{}}
	return inPages(letters, func(page []store.DeadLetterRow) error { return r.replay(ctx, page) })
}

// replayer is one call of Replay.
type replayer struct {
	*Queue
	ReplayOptions
	report func(Result)
	first  map[ID]int64 // the lowest offset produced to a partition, whose Offset is 0
}

// candidate is a letter on its way.
type candidate struct {
	letter *store.DeadLetterRow
	record *kgo.Record
}

func (r *replayer) replay(ctx context.Context, page []store.DeadLetterRow) error {
	page = r.wanted(page)
	if len(page) == 0 {
		return nil
	}
	records, err := r.records(ctx, page)
	if err != nil {
		return err
	}
	var all []candidate
	for i := range page {
		switch l := &page[i]; {
		case records[i].err != nil:
			r.report(Result{Letter: l, Err: records[i].err})
		case r.DryRun:
			r.report(Result{Letter: l})
		default:
			all = append(all, candidate{l, records[i].record.replay(l)})
		}
	}
	if len(all) == 0 {
		return nil
	}
	if all, err = r.claim(ctx, all); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	return r.produce(ctx, all)
}

// wanted leaves out what was settled before, and what failed since this call began.
func (r *replayer) wanted(page []store.DeadLetterRow) []store.DeadLetterRow {
	kept := page[:0:0]
	for i := range page {
		l := &page[i]
		if first, ok := r.first[ID{Topic: l.Topic, Partition: l.Partition}]; ok && l.Offset >= first {
			continue
		}
		if err := settled(l); err != nil && !r.Again {
			r.report(Result{Letter: l, Err: err})
			continue
		}
		kept = append(kept, *l)
	}
	return kept
}

// settled says what became of a letter that is not open.
func settled(l *store.DeadLetterRow) error {
	if l.State == store.DeadLetterOpen {
		return nil
	}
	what := l.State
	switch as, ok := ReplayOf(l); {
	case l.State == store.DeadLetterReplaying:
		what = "left half replayed (it may be in the log again, or not)"
	case ok && l.State == store.DeadLetterReplayed:
		what = "replayed as " + as.String()
	}
	when := ""
	if l.ChangedAt != nil {
		when = " at " + l.ChangedAt.UTC().Format(time.RFC3339)
	}
	return fmt.Errorf("%w: it was %s%s by %s", ErrSettled, what, when, l.ChangedBy)
}

// claim takes the letters, so that nobody else does. What somebody else took meanwhile is left out.
func (r *replayer) claim(ctx context.Context, all []candidate) ([]candidate, error) {
	now := r.now()
	changes := make([]store.DeadLetterChange, len(all))
	for i, c := range all {
		changes[i] = store.DeadLetterChange{DeadLetterRow: *c.letter, From: c.letter.State}
		changes[i].State, changes[i].ChangedAt, changes[i].ChangedBy = store.DeadLetterReplaying, &now, r.by
	}
	done, err := r.store.ChangeDeadLetters(ctx, changes)
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for _, c := range all {
		if _, ok := done[c.letter.Key()]; ok {
			kept = append(kept, c)
		} else {
			r.report(Result{Letter: c.letter, Err: errTaken})
		}
	}
	return kept, nil
}

var errTaken = fmt.Errorf("%w: somebody else took it meanwhile", ErrSettled)

// produce puts the records into the log, and writes down which of them are in it. What is not, or is
// not known to be, is as it was before: if it is in the log after all, its message id makes it count
// once.
func (r *replayer) produce(ctx context.Context, all []candidate) error {
	records := make([]*kgo.Record, len(all))
	for i, c := range all {
		records[i] = c.record
	}
	byRecord := make(map[*kgo.Record]error, len(all))
	for _, p := range r.client.ProduceSync(ctx, records...) {
		byRecord[p.Record] = p.Err
	}
	now := r.now()
	changes := make([]store.DeadLetterChange, len(all))
	for i, c := range all {
		changes[i] = store.DeadLetterChange{DeadLetterRow: *c.letter, From: store.DeadLetterReplaying}
		if byRecord[c.record] == nil {
			changes[i].State, changes[i].ChangedAt, changes[i].ChangedBy, changes[i].ReplayedOffset = store.DeadLetterReplayed, &now, r.by, &c.record.Offset
			changes[i].Why = "" // of a drop that this takes back
			r.remember(c.record)
		}
	}
	_, unmarked := r.store.ChangeDeadLetters(ctx, changes)
	for _, c := range all {
		result := Result{Letter: c.letter}
		if err := byRecord[c.record]; err != nil {
			result.Err = fmt.Errorf("produce to %s: %w", c.letter.Topic, err)
		} else {
			result.As = ID{c.record.Topic, c.record.Partition, c.record.Offset}
		}
		r.report(result)
	}
	if unmarked != nil {
		return errors.Join(errors.New("what was just replayed could not be written down; it stays replaying"), unmarked)
	}
	return nil
}

func (r *replayer) remember(record *kgo.Record) {
	partition := ID{Topic: record.Topic, Partition: record.Partition}
	if first, ok := r.first[partition]; !ok || record.Offset < first {
		r.first[partition] = record.Offset
	}
}
