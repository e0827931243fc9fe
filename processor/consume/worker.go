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
	reported  atomic.Int64 // of next, to the group
	highWater atomic.Int64 // end of the log, as last heard

	stopping chan struct{}   // closed: finish the batch at hand and end
	ctx      context.Context // ends: drop the batch at hand
	cancel   context.CancelFunc
	done     chan struct{}

	claim    store.Claim
	out      *outbox.Lane
	decoder  decoder
	poisoned int     // records given up since one was applied
	traced   *traced // of the batch at hand; nil: nothing of it is traced
}

func (c *Consumer) newWorker(p place, claim store.Claim, next int64) *worker {
	w := &worker{Consumer: c, place: p, lane: laneLive, claim: claim, stopping: make(chan struct{}), done: make(chan struct{}),
		decoder: decoder{Decoder: Decoder{Limits: c.cfg.Limits}, metrics: c.metrics}}
	if p.topic == event.TopicBackfill {
		w.lane = laneBackfill
	}
	one := map[string][]int32{p.topic: {p.partition}}
	h := hooks{
		pause:  func() { c.client.PauseFetchPartitions(one) },
		resume: func() { c.client.ResumeFetchPartitions(one) },
		enter:  c.live.enter,
		leave:  c.live.leave,
	}
	if w.lane == laneBackfill {
		h.enter, h.leave = func() {}, func() {}
	}
	w.queue = newQueue(c.cfg.QueueRecords, c.cfg.QueueBytes, h)
	w.next.Store(next)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// put takes fetched records in. It never blocks.
func (w *worker) put(records []*kgo.Record, highWater int64) {
	w.highWater.Store(highWater)
	w.metrics.setLag(w.place, highWater-w.next.Load())
	w.queue.put(records)
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
	w.queue.close()
	if closeErr := w.out.Close(w.ctx); closeErr != nil {
		w.log.Warn("left batches in the outbox for the partition's next owner", "topic", w.topic, "partition", w.partition)
	}
	if err != nil && !errors.Is(err, errStopped) && w.ctx.Err() == nil {
		w.fail(fmt.Errorf("process %s/%d: %w", w.topic, w.partition, err))
	}
}

// loop ends with nil when it is told to, and with an error that only a person can do something about.
func (w *worker) loop() error {
	for {
		select {
		case <-w.stopping:
			return nil
		case <-w.ctx.Done():
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
			w.queue.rest()
		}
	}
}

// isWanted is false once the worker is to end.
func (w *worker) isWanted() bool {
	select {
	case <-w.stopping:
		return false
	default:
		return w.ctx.Err() == nil
	}
}

// reclaim is for a partition that somebody else has claimed although it is assigned to this process.
// Either the group is about to take it away, or somebody meddled: after a while it is claimed back.
func (w *worker) reclaim() error {
	w.metrics.fenced.Inc()
	w.log.Warn("partition was claimed by another owner", "topic", w.topic, "partition", w.partition)
	if err := w.wait(w.cfg.FenceWait); err != nil {
		return err
	}
	claim, next, err := w.claimPartition(w.ctx, w.place)
	if err != nil {
		return err
	}
	if next < w.next.Load() {
		return fmt.Errorf("the offset row went back from %d to %d", w.next.Load(), next)
	}
	w.claim = claim
	w.next.Store(next)
	// What the other owner has committed and not produced comes before anything of ours: deleting our next
	// batch from the outbox deletes what is before it, and readers take nothing that comes later.
	if err := w.out.Put(w.ctx, outbox.Left{Offset: next}); err != nil {
		return errStopped
	}
	return nil
}

// errStopped ends a worker that is to end, in the middle of waiting.
var errStopped = errors.New("the worker was stopped")

// wait is cut short when the worker is to end.
func (w *worker) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.stopping:
	case <-w.ctx.Done():
	}
	return errStopped
}

// backoff waits longer from attempt to attempt, with jitter.
func (w *worker) backoff(attempt int) error {
	d := min(w.cfg.RetryMin<<min(attempt, 20), w.cfg.RetryMax)
	return w.wait(d/2 + rand.N(d/2+1))
}
