// Package store is the processor's side of the state store: it loads what a batch of events touches,
// lets the pure fold (processor/apply) work on it, and writes the result, the message ids, the outbox
// row and the offset in one serializable transaction (spec 3.2, 3.3).
//
// It knows nothing of Kafka, and decides nothing about events. Only its exported methods open
// transactions. The pool belongs to the caller, who closes it after the last call.
package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Config bounds the store's transactions.
type Config struct {
	Attempts    int           // of one transaction that meets others, before it is given up
	Timeout     time.Duration // of one attempt
	Concurrency int           // transactions at a time; 0: as many as the pool has connections
	Recheck     time.Duration // how long to ask whether a commit that nobody acknowledged happened
	SeenFor     time.Duration // how long message ids are remembered
	SweepEvery  time.Duration // of forgetting them, where the database does not do it itself
	SweepPage   int           // rows looked at per statement of the sweep
	OutboxPage  int           // rows of left-over batches loaded at once
	ReadPage    int           // rows loaded at once by the readers
}

// DefaultConfig is for a state store of its own.
func DefaultConfig() Config {
	return Config{
		Attempts:   8,
		Timeout:    30 * time.Second,
		Recheck:    30 * time.Second,
		SeenFor:    7 * 24 * time.Hour,
		SweepEvery: 24 * time.Hour,
		SweepPage:  5000,
		OutboxPage: 16,
		ReadPage:   500,
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	for _, x := range []struct {
		name string
		bad  bool
	}{
		{"attempts", c.Attempts < 1}, {"timeout", c.Timeout <= 0}, {"recheck", c.Recheck <= 0},
		{"seen_for", c.SeenFor <= 0}, {"sweep_every", c.SweepEvery <= 0}, {"sweep_page", c.SweepPage < 1},
		{"outbox_page", c.OutboxPage < 1}, {"read_page", c.ReadPage < 1},
	} {
		if x.bad {
			errs = append(errs, fmt.Errorf("%s must be positive", x.name))
		}
	}
	if c.Concurrency < 0 {
		errs = append(errs, errors.New("concurrency must not be negative"))
	}
	return errors.Join(errs...)
}

// Store is safe for concurrent use; one partition of the log has one caller at a time.
type Store struct {
	cfg  Config
	pool *pgxpool.Pool
	now  func() time.Time
	turn chan struct{} // a token per transaction at a time; nil: no bound but the pool's
}

// New makes a store over a pool of package sql's Open. It does not connect.
func New(cfg Config, pool *pgxpool.Pool) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the store: %w", err)
	}
	s := &Store{cfg: cfg, pool: pool, now: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }}
	if cfg.Concurrency > 0 {
		s.turn = make(chan struct{}, cfg.Concurrency)
	}
	return s, nil
}
