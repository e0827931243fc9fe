// Package processor is the role `processor`: it reads the log, resolves who did what, keeps the state
// store, and tells the column store what changed (spec 3.2, 3.3).
//
// It only assembles: consume reads the log, apply and what it uses are the pure rules, store is the
// transaction, outbox produces what was committed. Any number of processes may run; the consumer group
// shares the partitions out.
package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

// Config is the role's. Brokers and Instance of Consume are taken from here.
type Config struct {
	DSN      string        // of the state store
	Brokers  []string      // of the log
	Access   []kgo.Opt     // to the log: TLS, SASL
	Instance string        // names this process to people who look
	MaxConns int           // to the state store
	Hooks    []kgo.Hook    // of the clients of the log: tests that must know where they are
	Tracer   *trace.Tracer // nil: no traces

	Consume consume.Config
	Store   store.Config
	Outbox  outbox.Config
}

// DefaultConfig lacks DSN and Brokers.
func DefaultConfig() Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Config{Instance: host + "-" + strconv.Itoa(os.Getpid()), MaxConns: 16,
		Consume: consume.DefaultConfig(), Store: store.DefaultConfig(), Outbox: outbox.DefaultConfig()}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.DSN == "" {
		errs = append(errs, errors.New("dsn must name the state store"))
	}
	if c.MaxConns < 2 {
		errs = append(errs, errors.New("max_conns must be at least 2"))
	}
	c.Consume.Brokers, c.Consume.Access, c.Consume.Instance = c.Brokers, c.Access, c.Instance
	return errors.Join(append(errs, c.Consume.Validate(), c.Store.Validate(), c.Outbox.Validate())...)
}

// Processor is one process's part of the role.
type Processor struct {
	cfg     Config
	log     *slog.Logger
	read    *consume.Metrics
	written *outbox.Metrics

	pool     *pgxpool.Pool
	producer *kgo.Client
	consumer atomic.Pointer[consume.Consumer] // once started
	failed   chan struct{}

	cancel context.CancelFunc // of the tasks
	tasks  sync.WaitGroup
	stop   sync.Once
	err    error // of Stop
}

// New makes a processor. It connects to nothing.
func New(cfg Config, log *slog.Logger, registry prometheus.Registerer) (*Processor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the processor: %w", err)
	}
	cfg.Consume.Brokers, cfg.Consume.Access, cfg.Consume.Instance = cfg.Brokers, cfg.Access, cfg.Instance
	steps, err := sql.Steps()
	if err != nil {
		return nil, err
	}
	cfg.Consume.ClientID = service.ClientID("processor", steps.Newest())
	return &Processor{cfg: cfg, log: log, read: consume.NewMetrics(registry), written: outbox.NewMetrics(registry),
		failed: make(chan struct{}), cancel: func() {}}, nil
}

// Start joins the group. A state store that is down is waited for; one with another schema, or that does
// not let us in, is an error. The topics must exist.
func (p *Processor) Start(ctx context.Context) error {
	pool, err := sql.Open(context.WithoutCancel(ctx), p.cfg.DSN, p.cfg.MaxConns)
	if err != nil {
		return err
	}
	p.pool = pool
	if err := sql.CheckSchema(ctx, pool); errors.Is(err, sql.ErrSchema) || sql.Refused(err) {
		return err
	} else if err != nil {
		p.log.Warn("state store does not answer yet", "error", err)
	}
	states, err := store.New(p.cfg.Store, pool)
	if err != nil {
		return err
	}
	if p.producer, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(p.cfg.Brokers...), kgo.ClientID("keystone-outbox"), // idempotent, all acknowledgements: the defaults
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.WithHooks(p.cfg.Hooks...),
	}, p.cfg.Access...)...); err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	publisher, err := outbox.New(p.cfg.Outbox, p.producer, states, p.log, p.written)
	if err != nil {
		return err
	}
	publisher.Tracer = p.cfg.Tracer
	consumer, err := consume.New(p.cfg.Consume, consume.Parts{Store: states, Outbox: publisher,
		Tenants: control.New(pool), Log: p.log, Metrics: p.read, Hooks: p.cfg.Hooks, Tracer: p.cfg.Tracer})
	if err != nil {
		return err
	}
	if err := consumer.Start(ctx); err != nil {
		return err
	}
	p.consumer.Store(consumer)
	tasks, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.tasks.Go(func() { p.sweep(tasks, states) })
	p.tasks.Go(func() { p.watch(tasks, consumer) })
	return nil
}

// watch passes the consumer's failure on.
func (p *Processor) watch(ctx context.Context, c *consume.Consumer) {
	select {
	case <-c.Failed():
		close(p.failed)
	case <-ctx.Done():
	}
}

// sweep forgets old message ids now and then.
func (p *Processor) sweep(ctx context.Context, states *store.Store) {
	states.RunSweeper(ctx, p.cfg.Instance, func(forgotten int64, err error) {
		if err != nil {
			p.log.Warn("cannot forget old message ids", "error", err)
			return
		}
		p.log.Info("forgot old message ids", "rows", forgotten)
	})
}

// Stop finishes the batches at hand, produces what they changed, and leaves the group; what ctx leaves
// no time for is done by whoever comes next.
func (p *Processor) Stop(ctx context.Context) error {
	p.stop.Do(func() {
		if c := p.consumer.Load(); c != nil {
			p.err = c.Stop(ctx)
		}
		p.cancel()
		p.tasks.Wait()
		if p.producer != nil {
			p.producer.Close()
		}
		if p.pool != nil {
			p.pool.Close()
		}
	})
	return p.err
}

// Ready tells whether the processor can do its work: the state store and the log answer, and nothing
// has failed for good. The error names the part.
func (p *Processor) Ready(ctx context.Context) error {
	c := p.consumer.Load()
	if c == nil {
		return errors.New("the processor is not started")
	}
	if err := p.pool.Ping(ctx); err != nil {
		return fmt.Errorf("reach the state store: %w", err)
	}
	return c.Ready(ctx)
}

// Failed is closed when the processor has met something that only a person can do something about;
// Err tells what.
func (p *Processor) Failed() <-chan struct{} { return p.failed }

// Err is the first failure, or nil.
func (p *Processor) Err() error {
	if c := p.consumer.Load(); c != nil {
		return c.Err()
	}
	return nil
}
