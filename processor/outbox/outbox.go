// Package outbox produces what the processor's transactions promise: the changes of each batch, to
// keystone.changes, and the records that could not be processed, to keystone.dlq.
//
// A batch's records are written into the state store with the batch (processor/store), produced after
// its commit, and then deleted there. A crash in between produces them again: readers tell repetitions
// by the source position in the headers.
//
// There is one Lane per partition of the log; whoever opens it closes it. The Kafka client and the
// store belong to the caller.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/trace"
)

// Left is a committed batch whose records are, as far as the store knows, still to be produced.
type Left struct {
	Offset  int64 // the next offset after the batch, in its source
	Records []Record
}

// Store is where the records wait. processor/store is one.
type Store interface {
	// Unpublished are batches of a partition after a source offset, in the order of the log: not
	// necessarily all of them, but none only where there is none.
	Unpublished(ctx context.Context, topic string, partition int32, after int64) ([]Left, error)
	// Published deletes the batches up to a source offset.
	Published(ctx context.Context, topic string, partition int32, upTo int64) error
}

// Config bounds a lane.
type Config struct {
	Depth    int           // batches committed and not yet taken by the lane; then Put waits
	RetryMin time.Duration // wait after a failure, doubled up to RetryMax
	RetryMax time.Duration
}

// DefaultConfig lets production of one batch overlap with the transactions of the next two.
func DefaultConfig() Config {
	return Config{Depth: 2, RetryMin: 50 * time.Millisecond, RetryMax: 5 * time.Second}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.Depth < 1 {
		errs = append(errs, errors.New("depth must be positive"))
	}
	if c.RetryMin <= 0 || c.RetryMax < c.RetryMin {
		errs = append(errs, errors.New("retry_min must be positive and at most retry_max"))
	}
	return errors.Join(errs...)
}

// Publisher opens lanes. It is safe for concurrent use.
type Publisher struct {
	cfg     Config
	client  *kgo.Client
	store   Store
	log     *slog.Logger
	metrics *Metrics
	// Tracer makes spans for the records that carry a trace on; nil: none. Set before the first lane opens.
	Tracer *trace.Tracer
}

// New makes a publisher. client must be idempotent and ask for all acknowledgements.
func New(cfg Config, client *kgo.Client, store Store, log *slog.Logger, metrics *Metrics) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the outbox: %w", err)
	}
	return &Publisher{cfg: cfg, client: client, store: store, log: log, metrics: metrics}, nil
}
