package consume

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
)

// place is one partition of the log.
type place struct {
	topic     string
	partition int32
}

// worker processes one partition, batch after batch, as long as this process owns it. One goroutine
// runs it; put and the atomics are for the others.
type worker struct {
	*Consumer
	place
	lane  string
	queue *queue

	next      atomic.Int64 // the first offset not processed
	highWater atomic.Int64 // end of the log, as last heard

	stopping chan struct{}   // closed: finish the batch at hand and end
	ctx      context.Context // ends: drop the batch at hand
	cancel   context.CancelFunc
	done     chan struct{}

	claim    store.Claim
	out      *outbox.Lane
	decoder  decoder
	poisoned int // records given up since one was applied
}

func (c *Consumer) newWorker(p place, claim store.Claim, next int64) *worker {
	w := &worker{Consumer: c, place: p, lane: laneLive, claim: claim, stopping: make(chan struct{}), done: make(chan struct{}),
		decoder: decoder{limits: c.cfg.Limits, metrics: c.metrics}}
	if p.topic == event.TopicBackfill {
		w.lane = laneBackfill
	}
	one := map[string][]int32{p.topic: {p.partition}}
	w.queue = newQueue(c.cfg.QueueRecords, c.cfg.QueueBytes, func() { c.client.PauseFetchPartitions(one) }, func() { c.client.ResumeFetchPartitions(one) })
	w.next.Store(next)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// put takes fetched records in. It never blocks.
func (w *worker) put(records []*kgo.Record, highWater int64) {
	w.highWater.Store(highWater)
	w.metrics.setLag(w.place, highWater-w.next.Load())
	if w.queue.put(records) && w.lane == laneLive {
		w.live.enter() // left when the queue is empty again, or the worker ends
	}
}

// stop ends the worker: gracefully, but no later than ctx.
func (w *worker) stop(ctx context.Context) {
	close(w.stopping)
	select {
	case <-w.done:
	case <-ctx.Done():
		w.cancel()
		<-w.done
	}
	w.cancel()
}

func (w *worker) run() {
	defer close(w.done)
	defer w.metrics.forget(w.place)
	w.out = w.outbox.Open(w.topic, w.partition, w.next.Load())
	err := w.loop()
	busy := !w.queue.empty()
	w.queue.close()
	if busy && w.lane == laneLive {
		w.live.leave()
	}
	if closeErr := w.out.Close(w.ctx); closeErr != nil {
		w.log.Warn("left batches in the outbox for the partition's next owner", "topic", w.topic, "partition", w.partition)
	}
	if err != nil && w.ctx.Err() == nil {
		w.fail(fmt.Errorf("process %s/%d: %w", w.topic, w.partition, err))
	}
}

// loop ends with nil when it is told to, and with an error that only a person can do something about.
func (w *worker) loop() error {
	for {
		select {
		case <-w.stopping:
			return nil
		case <-w.queue.filled:
		}
		for w.isWanted() {
			if w.lane == laneBackfill {
				w.live.yield(w.ctx, w.cfg.BackfillWait)
			}
			records := w.queue.take(w.cfg.BatchRecords, w.cfg.BatchBytes)
			if len(records) == 0 {
				break
			}
			err := w.process(records)
			for errors.Is(err, store.ErrFenced) {
				if err = w.reclaim(); err == nil {
					err = w.process(records)
				}
			}
			if err != nil {
				return err
			}
			if w.lane == laneLive && w.queue.empty() {
				w.live.leave()
			}
		}
	}
}
