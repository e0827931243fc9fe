package sink

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// eventBatch is rows for events, and what has to be known of them until they are in the table.
type eventBatch struct {
	columns  *eventColumns
	texts    texts // of suspects
	suspects suspects
	claims   claims
}

func (b *eventBatch) reset() {
	b.columns.reset()
	b.texts.reset()
	clear(b.suspects)
	b.suspects = b.suspects[:0]
	b.claims.reset()
}

// memory is how many bytes the batch holds on to, after reset.
func (b *eventBatch) memory() int { return b.columns.memory() + b.texts.memory() + b.claims.memory() }

// eventBatches holds the memory of batches between uses, so that a lane without traffic has none.
var eventBatches = sync.Pool{New: func() any { return &eventBatch{columns: newEventColumns()} }}

// eventWork brings events into the table events.
type eventWork struct {
	tp
	insert   *inserter
	messages *messages
	metrics  *metrics
	poison   *poisonLog
	decoder  *decoder
	now      func() time.Time

	traces traces
	batch  *eventBatch // nil between batches
	erased *erased     // of the batch
	row    row
	hasher hasher

	ahead [aheadRecords]opened // the records that are taken next
	open  int                  // of them
	next  int                  // of those: the others were taken
	fetch []uint64             // hashes of them
}

// aheadRecords is how many records are opened before the first of them is taken. So many stay in a processor's
// first cache, and it cannot wait for more at once.
const aheadRecords = 16

// aheadBytes is how much of them: what a record was told apart in is kept for the next one in its place, and of a
// large one that is as large.
const aheadBytes = 32 << 10

func (w *eventWork) marks() marks { return nil }

func (w *eventWork) begin(e *erased) { w.erased = e }

func (w *eventWork) rows() int {
	if w.batch == nil {
		return 0
	}
	return w.batch.columns.rows + len(w.batch.suspects)
}

// look opens the first records and has what is known of their messages fetched from memory.
func (w *eventWork) look(records []*kgo.Record) int {
	w.next, w.open, w.fetch = 0, 0, w.fetch[:0]
	bytes := 0
	for _, record := range records[:min(len(records), aheadRecords)] {
		if bytes += len(record.Value); bytes > aheadBytes && w.open > 0 {
			break // it will be the first
		}
		o := &w.ahead[w.open]
		w.open++
		if w.decoder.open(record, o) {
			o.hash = w.hasher.hash(o.message)
			w.fetch = append(w.fetch, o.hash)
		}
	}
	w.messages.touch(w.fetch)
	return w.open
}

// opened is a record that look has seen, or else one that is looked at now.
func (w *eventWork) opened(record *kgo.Record) *opened {
	for ; w.next < w.open; w.next++ {
		if o := &w.ahead[w.next]; o.record == record {
			w.next++
			return o
		}
	}
	w.look([]*kgo.Record{record})
	w.next++
	return &w.ahead[0]
}

func (w *eventWork) take(ctx context.Context, record *kgo.Record) error {
	if w.batch == nil {
		w.batch = eventBatches.Get().(*eventBatch)
	}
	r, o := &w.row, w.opened(record)
	if err := w.decoder.fill(o, r); err != nil {
		w.poison.skip(ctx, record, err)
		w.traces.take(record, resultSkipped)
		return nil
	}
	if w.erased.concerns(r.tenant) && w.decoder.erased(r, w.erased) {
		w.metrics.erased.WithLabelValues(w.topic).Inc()
		return nil
	}
	switch w.judge(o) {
	case fresh:
		w.traces.take(record, "")
		w.batch.columns.add(r, w.tp)
	case duplicate:
		w.traces.take(record, resultDuplicate)
		w.metrics.duplicates.Inc()
	case suspect:
		w.traces.take(record, "") // nearly all of them are new
		w.batch.suspects.add(r, &w.batch.texts)
		if len(w.batch.suspects) >= maxSuspects {
			return w.lookUp(ctx)
		}
	}
	return nil
}

// judge looks whether the message was seen. One without an id (no edge of ours leaves it out) is
// taken as it is.
func (w *eventWork) judge(o *opened) verdict {
	if o.message.id == "" {
		return fresh
	}
	return w.messages.claim(&w.batch.claims, o.hash, o.message)
}

// lookUp asks the table about the suspects and takes those it does not have.
func (w *eventWork) lookUp(ctx context.Context) error {
	b := w.batch
	if len(b.suspects) == 0 {
		return nil
	}
	var known map[message]bool
	err := w.insert.retry(ctx, tableEvents, func(ctx context.Context) (err error) {
		known, err = b.suspects.known(ctx, w.insert.servers)
		return err
	})
	if err != nil {
		return err
	}
	for i := range b.suspects {
		r := &b.suspects[i]
		if known[r.message()] {
			w.metrics.suspects.WithLabelValues("duplicate").Inc()
			w.metrics.duplicates.Inc()
			continue
		}
		w.metrics.suspects.WithLabelValues("new").Inc()
		b.columns.add(r, w.tp)
	}
	clear(b.suspects)
	b.suspects = b.suspects[:0]
	return nil
}

func (w *eventWork) flush(ctx context.Context, at span) error {
	if w.batch == nil {
		return nil
	}
	if err := w.lookUp(ctx); err != nil {
		return err
	}
	b := w.batch
	// One load time for the batch, also when the insert is repeated: it chooses the partition, and a
	// token is remembered for each partition.
	b.columns.load(w.now())
	ctx, traced := w.traces.flush(ctx)
	err := w.insert.one(ctx, &b.columns.rowset, at)
	traced.end(err)
	if err != nil {
		return err
	}
	w.messages.done(w.now(), &b.claims)
	w.release()
	return nil
}

func (w *eventWork) abandon() {
	w.traces.abandon()
	if w.batch != nil {
		w.messages.giveUp(&w.batch.claims)
		w.release()
	}
}

// maxKept is how much memory a batch is kept with for another. One of ordinary events has half of it; one
// whose events are large or many in turn would keep the most that each of its blocks ever had.
const maxKept = 128 << 20

func (w *eventWork) release() {
	if w.batch.reset(); w.batch.memory() <= maxKept {
		eventBatches.Put(w.batch)
	}
	w.batch = nil
}
