package sink

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recordOverhead is what a record takes in memory beside its key, value and headers.
const recordOverhead = 256

// work is what a lane does with its records: decode them into a batch, and insert the batch. It is
// used by the lane's goroutine only.
type work interface {
	// begin says what is erased, before the first record of a batch. Later batches know it too.
	begin(e *erased)
	// take adds the first records, and answers how many, at least one: some work is less for several at once. It keeps
	// nothing that points into them: their memory is used again afterwards. What cannot be read is counted and
	// skipped. The error is ctx's.
	take(ctx context.Context, records []*kgo.Record) (int, error)
	// rows is the size of the batch.
	rows() int
	// flush inserts the batch, which ends at the last offset of the span, and empties it. The error is
	// ctx's.
	flush(ctx context.Context, at span) error
	// marks is what was taken of each source so far; nil on the event topics.
	marks() marks
	// abandon forgets the batch.
	abandon()
}

// lane is one partition, from the log to the tables: one goroutine that decodes, waits for a batch
// worth inserting, and inserts it. Lanes share the budget and the pace.
type lane struct {
	tp
	cfg     *Config
	work    work
	records prometheus.Counter // taken
	hole    func(from, to int64)
	budget  *budget
	pace    *pace
	now     func() time.Time
	erased  *atomic.Pointer[erased] // the sink's

	mu    sync.Mutex
	queue [][]*kgo.Record // fetched, not taken yet

	wake chan struct{}      // there is something in the queue
	quit chan struct{}      // closed by finish: flush and end
	kill context.CancelFunc // ends it now
	done chan struct{}      // closed when the goroutine has ended

	position atomic.Pointer[position] // everything before it is in the tables
	end      atomic.Int64             // of the partition in the log
	knows    atomic.Uint64            // so many rows of erasures, in whatever it inserts from now on

	// The goroutine's own.
	logSince time.Time // see position
	batch    span      // of the records taken since the last flush; its last offset is next-1
	next     int64     // the offset after the last record taken
	bytes    int       // of the batch's records; 0 is no batch
	began    time.Time
	flushed  time.Time
}

// push hands over fetched records. Called by the reader of the log only.
func (l *lane) push(records []*kgo.Record, end int64) {
	l.end.Store(end)
	if len(records) == 0 {
		return
	}
	bytes := 0
	for _, r := range records {
		bytes += recordBytes(r)
	}
	l.budget.take(bytes)
	l.mu.Lock()
	l.queue = append(l.queue, records)
	l.mu.Unlock()
	l.nudge()
}

func recordBytes(r *kgo.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func (l *lane) pop() []*kgo.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	records := l.queue[0]
	l.queue = l.queue[1:]
	return records
}

// start runs the lane until finish, or until kill ends its context.
func (l *lane) start(ctx context.Context) {
	ctx, l.kill = context.WithCancel(ctx)
	go func() {
		defer close(l.done)
		defer l.drop()
		l.run(ctx)
	}()
}

// finish asks the lane to insert the batch it has and to end. What is in its queue is read again by
// whoever has the partition next.
func (l *lane) finish() { close(l.quit) }

func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.takeQueue(ctx); err != nil {
			return
		}
		if l.bytes == 0 {
			l.knows.Store(l.erased.Load().rows)
		}
		wait, due := l.due()
		if due {
			if l.flush(ctx) != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		case <-l.quit:
			_ = l.flush(ctx) // only kill can fail it, and then nobody wants to know
			return
		}
	}
}

// takeQueue decodes what was fetched, and inserts batches as they fill up, until the queue is empty
// or the lane is to end.
func (l *lane) takeQueue(ctx context.Context) error {
	for {
		select {
		case <-l.quit:
			return nil
		default:
		}
		records := l.pop()
		if records == nil {
			return nil
		}
		if err := l.takeRecords(ctx, records); err != nil {
			return err
		}
	}
}

func (l *lane) takeRecords(ctx context.Context, records []*kgo.Record) error {
	taken := 0
	defer func() { l.records.Add(float64(taken)) }()
	for len(records) > 0 {
		if r := records[0]; r.Offset < l.next {
			l.budget.give(recordBytes(r))
			r.Recycle()
			records = records[1:]
			continue
		}
		n, err := l.takeSome(ctx, records)
		taken += n
		records = records[n:]
		if err != nil {
			for _, r := range records {
				l.budget.give(recordBytes(r))
			}
			return err
		}
	}
	return nil
}

// takeSome takes the first records, as many as are taken together, and inserts the batch if they filled it up.
func (l *lane) takeSome(ctx context.Context, records []*kgo.Record) (int, error) {
	if l.bytes == 0 {
		l.work.begin(l.erased.Load())
		l.batch = span{tp: l.tp, first: records[0].Offset, began: records[0].Timestamp}
		l.began = l.now()
	}
	n, err := l.work.take(ctx, records[:min(len(records), l.cfg.BatchRows-l.work.rows())])
	if err != nil {
		return 0, err
	}
	for _, r := range records[:n] {
		if r.Offset > l.next && l.next > 0 {
			l.hole(l.next, r.Offset)
		}
		l.next = r.Offset + 1
		l.bytes += recordBytes(r)
		r.Recycle()
	}
	if l.work.rows() >= l.cfg.BatchRows || l.bytes >= l.cfg.BatchBytes || l.tooOld() {
		return n, l.flush(ctx)
	}
	return n, nil
}

// tooOld tells that a batch that never sees the end of its queue has waited long enough, and that
// another insert that is not full is due.
func (l *lane) tooOld() bool {
	t := l.now()
	return t.Sub(l.began) >= l.cfg.MaxFlush && l.pace.ask(t) == 0
}

// idle is how long a lane without a batch sleeps; a wake-up ends it.
const idle = time.Minute

// due tells whether to insert now, with the queue empty, or else how long to wait.
func (l *lane) due() (wait time.Duration, now bool) {
	if l.bytes == 0 {
		return idle, false
	}
	t := l.now()
	if wait = l.cfg.MinFlush - t.Sub(l.flushed); wait > 0 && !l.budget.full() {
		return wait, false
	}
	if wait = l.pace.ask(t); wait > 0 {
		return wait, false
	}
	return 0, true
}

// flush inserts the batch and moves the position.
func (l *lane) flush(ctx context.Context) error {
	if l.bytes == 0 {
		return nil
	}
	l.batch.last = l.next - 1
	if err := l.work.flush(ctx, l.batch); err != nil {
		return err
	}
	l.flushed = l.now()
	l.position.Store(&position{next: l.next, marks: l.work.marks(), logSince: l.logSince, at: l.flushed})
	l.budget.give(l.bytes)
	l.bytes = 0
	l.knows.Store(l.erased.Load().rows)
	return nil
}

// nudge wakes the lane, so that one that has nothing to do says what it knows.
func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// drop forgets what is not inserted.
func (l *lane) drop() {
	l.work.abandon()
	l.budget.give(l.bytes)
	l.bytes = 0
	for records := l.pop(); records != nil; records = l.pop() {
		for _, r := range records {
			l.budget.give(recordBytes(r))
		}
	}
}
