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

	group [groupRecords]opened // the records that are taken together
	fetch []uint64             // hashes of their messages
}

// groupRecords is how many records are taken together. So many stay in a processor's first cache, and it cannot
// wait for more at once.
const groupRecords = 16

// groupBytes is how much of them: what a record was told apart in is kept for the next one in its place, and of a
// large one that is as large.
const groupBytes = 32 << 10

func (w *eventWork) marks() marks { return nil }

func (w *eventWork) begin(e *erased) { w.erased = e }

func (w *eventWork) rows() int {
	if w.batch == nil {
		return 0
	}
	return w.batch.columns.rows + len(w.batch.suspects)
}

// take takes the first records together: what each of them waits for, they wait for at once. That is the records,
// which were fetched a while ago, what is known of their messages, and the lock of that.
func (w *eventWork) take(ctx context.Context, records []*kgo.Record) (int, error) {
	if w.batch == nil {
		w.batch = eventBatches.Get().(*eventBatch)
	}
	records = together(records)
	touch(records)
	w.open(records)
	for i := range records {
		if err := w.takeOne(ctx, &w.group[i]); err != nil {
			return 0, err
		}
	}
	return len(records), nil
}

// together is the first records, groupRecords and groupBytes at most; a larger record is alone.
func together(records []*kgo.Record) []*kgo.Record {
	bytes := 0
	for i, record := range records {
		if bytes += len(record.Value); i == groupRecords || bytes > groupBytes && i > 0 {
			return records[:i]
		}
	}
	return records
}

// touch has the records' memory fetched: see seen.Window.Touch. (In line, where nobody wants the sum, nothing would
// be read.)
//
//go:noinline
func touch(records []*kgo.Record) (sum byte) {
	const line = 64 // bytes that a processor fetches together
	for _, record := range records {
		for i := 0; i < len(record.Value); i += line {
			sum += record.Value[i]
		}
		for i := range record.Headers {
			if value := record.Headers[i].Value; len(value) > 0 {
				sum += value[0]
			}
		}
	}
	return sum
}

// open tells the records apart and judges their messages.
func (w *eventWork) open(records []*kgo.Record) {
	w.fetch = w.fetch[:0]
	for i, record := range records {
		o := &w.group[i]
		o.verdict = fresh // one without an id (no edge of ours leaves it out) is taken as it is
		if w.decoder.open(record, o) {
			o.verdict, o.hash = unjudged, w.hasher.hash(o.message)
			w.fetch = append(w.fetch, o.hash)
		}
	}
	w.messages.judge(&w.batch.claims, w.group[:len(records)], w.fetch, w.erased)
}

func (w *eventWork) takeOne(ctx context.Context, o *opened) error {
	r := &w.row
	if err := w.decoder.fill(o, r); err != nil {
		w.poison.skip(ctx, o.record, err)
		w.traces.take(o.record, resultSkipped)
		return nil
	}
	if w.erased.concerns(r.tenant) && w.decoder.erased(r, w.erased) {
		w.metrics.erased.WithLabelValues(w.topic).Inc()
		return nil
	}
	if o.verdict == unjudged {
		o.verdict = w.messages.claim(&w.batch.claims, o.hash, o.message)
	}
	switch o.verdict {
	case fresh:
		w.traces.take(o.record, "")
		w.batch.columns.add(r, w.tp)
	case duplicate:
		w.traces.take(o.record, resultDuplicate)
		w.metrics.duplicates.Inc()
	case suspect:
		w.traces.take(o.record, "") // nearly all of them are new
		w.batch.suspects.add(r, &w.batch.texts)
		if len(w.batch.suspects) >= maxSuspects {
			return w.lookUp(ctx)
		}
	}
	return nil
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
