// Package produce makes records durable in the log: a Lane is one topic's way there, with its own
// client, so that a backfill does not stand in live traffic's way. Where the log does not answer in
// time the records go to the lane's spool instead, and everything after them as well until the spool
// is empty again, so that order holds.
//
// Requests share produce requests by group commit: while one group is under way the next gathers, so
// that a group is as large as the log is slow, and a lone request waits for nobody. Where the log is fast and
// many requests come, each on its own, groups are kept a moment apart.
//
// # What is promised
//
// Records that were submitted after others had been acknowledged are in the log behind them. Every
// acknowledged record is in the log, or in the spool and will be. A record may be in the log twice
// (the log's answer was late, or a crash interrupted the drain), both times under one message id.
// Of a record that could not be made durable, Outcome.Doubtful says whether it may arrive all the
// same: the log was asked and did not answer, and then the disk failed as well.
//
// A Lane runs between Start and Stop; Stop ends its goroutines, its client and its spool.
package produce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/ingest/throttle"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// Spool is where records wait for a log that does not take them; *spool.Spool is one.
type Spool interface {
	Start(deliver spool.Deliver)
	Stop(ctx context.Context) error
	Append(records []*kgo.Record, wait time.Duration) error
	Pending() int64
	Room() bool
}

// Lane is the way of one topic's records into the log.
type Lane struct {
	cfg     Config
	topic   string
	log     *slog.Logger
	metrics *metrics
	client  *kgo.Client
	spool   Spool
	// Delivered is told of records that the log has taken from the spool, with their partitions and
	// offsets, before they are forgotten. Set before Start.
	Delivered func(records []*kgo.Record)
	// Tracer makes spans for traced records that leave the spool; nil: no traces. Set before Start.
	Tracer *trace.Tracer

	refusals throttle.Message
	silences throttle.Message

	late     atomic.Bool // the group under way has waited too long: everything goes to the spool
	ready    chan struct{}
	punctual chan struct{} // signalled when a late group has been answered; capacity 1
	cancel   context.CancelFunc
	sender   sync.WaitGroup
	stopOnce sync.Once
	stopErr  error

	// The sender's own.
	left   time.Time // when the last group went
	wanted int       // records that the next one waits for, if not for long

	mu     sync.Mutex // guards what follows
	gather *group
	sent   *group // under way; nil: none
	wake   int    // the sender is to be woken when so many have gathered
	closed bool
}

// NewLane makes a lane into topic. The spool must be open; the lane starts and stops it.
func NewLane(cfg Config, topic string, sp Spool, log *slog.Logger, reg prometheus.Registerer) (*Lane, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("keystone-edge"),
		kgo.DefaultProduceTopicAlways(),
		kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// The hash of the Java client, so that other producers agree on partitions.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		// Half of lz4's processor time for a log that is an eighth larger (docs/edge.md).
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.ProducerBatchMaxBytes(cfg.BatchBytes),
		kgo.MaxBufferedRecords(maxBuffered),
		// The client never gives a record up by itself: that would let a later one overtake it. What
		// waits too long goes to the spool, and the client's copy may still arrive, earlier.
		kgo.UnknownTopicRetries(-1),
		// ProduceSync ends the linger for the whole group at once; without a linger the first record
		// of a group would leave alone.
		kgo.ProducerLinger(linger),
		kgo.ProduceRequestTimeout(cfg.AckWithin),
		kgo.DialTimeout(cfg.DialTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return cfg.RetryAfter }),
		kgo.MetadataMinAge(cfg.RetryAfter),
	}, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", topic, err)
	}
	l := &Lane{
		cfg: cfg, topic: topic, log: log, client: client, spool: sp,
		ready: make(chan struct{}, 1), punctual: make(chan struct{}, 1), gather: newGroup(),
		wake: 1,
	}
	l.metrics = newMetrics(reg, topic, l)
	return l, nil
}

// Start runs the lane and the drain of its spool. The log need not be there.
func (l *Lane) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.sender.Go(func() { l.run(ctx) })
	l.spool.Start(l.deliver)
	return nil
}

// Stop waits for what is under way until ctx ends, then closes the client and the spool. What is not
// in the log by then is in the spool. Nothing may be submitted any more.
func (l *Lane) Stop(ctx context.Context) error {
	l.stopOnce.Do(func() {
		l.mu.Lock()
		l.closed = true
		under := l.sent
		l.mu.Unlock()
		if under != nil {
			select {
			case <-under.done:
			case <-ctx.Done():
			}
		}
		if l.cancel != nil {
			l.cancel()
		}
		l.client.Close() // fails what it still holds, so that nobody waits for it
		l.sender.Wait()
		l.stopErr = l.spool.Stop(ctx)
	})
	return l.stopErr
}

// Ready is nil if the lane can take records: into the log, or into a spool with room.
func (l *Lane) Ready() error {
	if l.direct() || l.spool.Room() {
		return nil
	}
	return errors.New("the log does not answer and the spool is full")
}

// direct tells that records may go straight to the log: nothing waits in front of them.
func (l *Lane) direct() bool { return !l.late.Load() && l.spool.Pending() == 0 }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
