// Package consume reads the log: it has a worker for every partition of keystone.events and
// keystone.backfill that the consumer group assigns to this process, which decodes batch after batch
// and has processor/store apply them (spec 3.2, 3.3, 3.5).
//
// The group only assigns. Where a partition stands is in the state store, and is moved in the
// transaction that applies a batch; group offsets are committed afterwards, for tools that look at
// lag. A worker whose partition somebody else has claimed finds out at its next batch, which is
// dropped whole.
//
// Goroutines: one polls and hands records to the workers, one commits group offsets, one per partition
// works, one per partition produces (processor/outbox). Stop waits for all of them.
package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
)

// Store is what a consumer asks of the state store. processor/store is one.
type Store interface {
	Claim(ctx context.Context, topic string, partition int32, owner string) (c store.Claim, next int64, err error)
	Apply(ctx context.Context, b *store.Batch) (store.Outcome, error)
}

// Parts are what a consumer works with; they belong to the caller.
type Parts struct {
	Store   Store
	Outbox  *outbox.Publisher
	Tenants Tenants
	Log     *slog.Logger
	Metrics *Metrics
	Hooks   []kgo.Hook    // see what the group's client does
	Tracer  *trace.Tracer // nil: no traces
}

// Consumer is the processor's reader of the log.
type Consumer struct {
	cfg     Config
	store   Store
	outbox  *outbox.Publisher
	tenants *tenants
	log     *slog.Logger
	rarely  *rarely
	metrics *Metrics
	hooks   []kgo.Hook
	tracer  *trace.Tracer
	live    priority
	client  *kgo.Client
	started chan struct{} // closed once client is set: the group may call back before

	mu      sync.Mutex
	workers map[place]*worker
	failure error

	cancel context.CancelFunc // of polling and committing
	loops  sync.WaitGroup
	stop   sync.Once
	failed chan struct{} // closed at the first failure
}

// New makes a consumer. It connects to nothing.
func New(cfg Config, p Parts) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the consumer: %w", err)
	}
	return &Consumer{
		cfg: cfg, store: p.Store, outbox: p.Outbox, tenants: newTenants(p.Tenants, cfg.TenantTTL), log: p.Log,
		rarely: newRarely(p.Log), metrics: p.Metrics, hooks: p.Hooks, tracer: p.Tracer, workers: map[place]*worker{}, started: make(chan struct{}), failed: make(chan struct{}),
	}, nil
}

// Limits of fetching. They bound memory together with Config.QueueBytes.
const (
	fetchBytes          = 16 << 20 // per broker
	fetchPartitionBytes = 2 << 20
	pollRecords         = 10000

	// A fetch that waits for an empty topic holds back the partitions that were paused meanwhile.
	fetchWait = 250 * time.Millisecond
	// Of the session timeout, so that one late sign of life does not cost a process its partitions.
	heartbeatsPerSession = 5
)

// Start joins the group. The topics must exist.
func (c *Consumer) Start(context.Context) error {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.cfg.Brokers...),
		kgo.ClientID(c.cfg.ClientID),
		kgo.ConsumerGroup(c.cfg.Group),
		kgo.ConsumeTopics(event.TopicEvents, event.TopicBackfill),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // a fetch must not reach the worker of a later assignment
		kgo.AdjustFetchOffsetsFn(c.assigned),
		kgo.OnPartitionsRevoked(c.revoked),
		kgo.OnPartitionsLost(c.lost),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(c.cfg.SessionTimeout),
		// A member that is late costs the others no more than it takes to finish a batch and say so.
		kgo.RebalanceTimeout(c.cfg.RevokeTimeout + commitTimeout + c.cfg.SessionTimeout),
		kgo.HeartbeatInterval(c.cfg.SessionTimeout / heartbeatsPerSession),
		kgo.WithHooks(c.hooks...),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
	}, c.cfg.Access...)...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	c.client = client
	close(c.started)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.loops.Go(func() { c.poll(ctx) })
	c.loops.Go(func() { c.commitNowAndThen(ctx) })
	return nil
}

// Stop ends the consumer: no more fetching; every worker finishes its batch and its outbox, but no
// later than ctx; then it leaves the group. What was not finished is as if it had not begun.
func (c *Consumer) Stop(ctx context.Context) error {
	c.stop.Do(func() {
		if c.client == nil {
			return
		}
		c.cancel()
		c.loops.Wait()
		c.stopWorkers(ctx, c.take(nil))
		c.client.CloseAllowingRebalance()
	})
	if ctx.Err() != nil {
		return fmt.Errorf("finish the batches at hand: %w", ctx.Err())
	}
	return nil
}

// Failed is closed when the consumer has met something that only a person can do something about: the
// partition's worker has ended. Err tells what it was.
func (c *Consumer) Failed() <-chan struct{} { return c.failed }

// Err is the first failure, or nil.
func (c *Consumer) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Ready tells whether the log answers and no worker has failed.
func (c *Consumer) Ready(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	if c.client == nil {
		return errors.New("the consumer is not started")
	}
	if err := c.client.Ping(ctx); err != nil {
		return fmt.Errorf("reach the log: %w", err)
	}
	return nil
}

func (c *Consumer) fail(err error) {
	c.log.Error("processing failed", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = err
		close(c.failed)
	}
}

// stopWorkers ends workers together and commits where they got to.
func (c *Consumer) stopWorkers(ctx context.Context, workers []*worker) {
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() { w.stop(ctx) })
	}
	wg.Wait()
	c.commit(ctx, workers)
}

// take removes the workers of some partitions; all of them for nil.
func (c *Consumer) take(partitions map[string][]int32) []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	var taken []*worker
	for p, w := range c.workers {
		if partitions == nil || contains(partitions, p) {
			taken = append(taken, w)
			delete(c.workers, p)
		}
	}
	return taken
}

func contains(partitions map[string][]int32, p place) bool {
	for _, x := range partitions[p.topic] {
		if x == p.partition {
			return true
		}
	}
	return false
}
