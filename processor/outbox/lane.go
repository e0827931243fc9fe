package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Lane produces the batches of one partition, in their order. Put and Close are called from one
// goroutine, the partition's worker.
type Lane struct {
	*Publisher
	topic     string
	partition int32

	queue  chan Left
	ctx    context.Context // ends where the lane must not produce any more
	cancel context.CancelFunc
	done   chan struct{}
	close  sync.Once

	published int64 // up to this source offset; of the lane's goroutine
}

// Open starts a lane that first produces again what the partition's former owner has left up to the
// source offset upTo, where the caller goes on.
func (p *Publisher) Open(topic string, partition int32, upTo int64) *Lane {
	l := &Lane{Publisher: p, topic: topic, partition: partition, queue: make(chan Left, p.cfg.Depth), done: make(chan struct{}), published: -1}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	go l.run(upTo)
	return l
}

// Put hands a committed batch over. A batch without records is one whose records the caller does not
// know: the lane asks the store. Put waits while Config.Depth batches wait already.
func (l *Lane) Put(ctx context.Context, b Left) error {
	select {
	case l.queue <- b:
		l.metrics.pending.Inc()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close produces what was put and ends the lane. Where ctx ends before that, the rest stays in the
// store for the partition's next owner.
func (l *Lane) Close(ctx context.Context) error {
	l.close.Do(func() { close(l.queue) })
	select {
	case <-l.done:
	case <-ctx.Done():
		l.cancel()
		<-l.done
		return fmt.Errorf("close the outbox of %s/%d: %w", l.topic, l.partition, ctx.Err())
	}
	l.cancel()
	return nil
}

func (l *Lane) run(upTo int64) {
	defer close(l.done)
	if !l.recover(upTo, true) {
		l.drain()
		return
	}
	for b := range l.queue {
		var ok bool
		if b.Records == nil {
			ok = l.recover(b.Offset, false)
		} else {
			ok = l.publish(b)
		}
		l.metrics.pending.Dec()
		if !ok {
			l.drain()
			return
		}
	}
}

// drain forgets what is queued: it is in the store.
func (l *Lane) drain() {
	for {
		select {
		case _, more := <-l.queue:
			if !more {
				return
			}
			l.metrics.pending.Dec()
		default:
			return
		}
	}
}

// recover produces what the store has, up to a source offset. It answers false when the lane has ended.
func (l *Lane) recover(upTo int64, repeated bool) bool {
	for {
		var left []Left
		if !l.insist("load the outbox", func() (err error) {
			left, err = l.store.Unpublished(l.ctx, l.topic, l.partition, l.published)
			return err
		}) {
			return false
		}
		if len(left) == 0 {
			return true
		}
		for _, b := range left {
			if b.Offset > upTo {
				return true
			}
			if repeated {
				l.metrics.repeated.Inc()
			}
			if !l.publish(b) {
				return false
			}
		}
	}
}

// publish produces a batch and deletes it from the store. It answers false when the lane has ended.
func (l *Lane) publish(b Left) bool {
	if !l.insist("produce a batch", func() error { return l.produce(b.Records) }) {
		return false
	}
	l.published = b.Offset
	return l.insist("delete from the outbox", func() error {
		return l.store.Published(l.ctx, l.topic, l.partition, b.Offset)
	})
}

// produce is done once every record is acknowledged. Those of one key keep their order.
func (l *Lane) produce(records []Record) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	wg.Add(len(records))
	for i := range records {
		record := records[i].kafka()
		sent := l.trace(record)
		l.client.Produce(l.ctx, record, func(r *kgo.Record, err error) {
			defer wg.Done()
			sent.end(r, err)
			if err == nil {
				l.metrics.records.WithLabelValues(r.Topic).Inc()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = fmt.Errorf("produce to %s: %w", r.Topic, err)
			}
		})
	}
	wg.Wait()
	return first
}

// logEvery bounds how often one lane's repeated failure is logged.
const logEvery = 10 * time.Second

// insist does a thing until it succeeds. It answers false when the lane has ended.
func (l *Lane) insist(what string, do func() error) bool {
	var logged time.Time
	for wait := l.cfg.RetryMin; ; wait = min(2*wait, l.cfg.RetryMax) {
		err := do()
		if l.ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true
		}
		l.metrics.failures.Inc()
		if now := time.Now(); now.Sub(logged) >= logEvery {
			logged = now
			l.log.Warn("outbox does not get on", "step", what, "topic", l.topic, "partition", l.partition, "error", err)
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-t.C:
		case <-l.ctx.Done():
			t.Stop()
			return false
		}
	}
}
