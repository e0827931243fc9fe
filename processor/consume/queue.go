package consume

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queue holds the fetched records of one partition until its worker takes them. When it is full,
// fetching of the partition pauses; nothing else waits.
type queue struct {
	maxRecords, maxBytes int
	hooks

	mu      sync.Mutex
	records []*kgo.Record
	bytes   int
	paused  bool
	busy    bool
	filled  chan struct{} // holds a token while there may be records
}

// hooks are called as the queue fills and empties, with its lock held.
type hooks struct {
	pause, resume func() // fetching
	enter, leave  func() // busy: from the first record until rest finds the queue empty
}

func newQueue(maxRecords, maxBytes int, h hooks) *queue {
	return &queue{maxRecords: maxRecords, maxBytes: maxBytes, hooks: h, filled: make(chan struct{}, 1)}
}

// put never blocks: what one fetch brings is taken in, however full the queue is.
func (q *queue) put(records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.busy {
		q.busy = true
		q.enter()
	}
	q.records = append(q.records, records...)
	for _, r := range records {
		q.bytes += len(r.Value)
	}
	if !q.paused && q.full(1) {
		q.paused = true
		q.pause()
	}
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// full tells whether a part of the limits is reached: 1 all of it, 2 half of it.
func (q *queue) full(part int) bool {
	return len(q.records) >= q.maxRecords/part || q.bytes >= q.maxBytes/part
}

// take removes at most so many records and bytes from the front; one record at least, if there is any.
func (q *queue) take(maxRecords, maxBytes int) []*kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.records) && n < maxRecords {
		size := len(q.records[n].Value)
		if n > 0 && bytes+size > maxBytes {
			break
		}
		bytes += size
		n++
	}
	taken := q.records[:n:n]
	q.records = q.records[n:]
	q.bytes -= bytes
	if len(q.records) == 0 {
		q.records = nil // let go of the fetch's memory
	}
	if q.paused && !q.full(2) {
		q.paused = false
		q.resume()
	}
	return taken
}

// rest says that what was taken is done.
func (q *queue) rest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy && len(q.records) == 0 {
		q.busy = false
		q.leave()
	}
}

// close forgets the records, and lets fetching of the partition go on, for whoever has it next.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.records, q.bytes = nil, 0
	if q.paused {
		q.paused = false
		q.resume()
	}
	if q.busy {
		q.busy = false
		q.leave()
	}
}
