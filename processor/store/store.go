// Package store is the processor's side of the state store: it loads what a batch of events touches,
// lets the pure fold (processor/apply) work on it, and writes the result, the message ids, the outbox
// row and the offset in one serializable transaction (spec 3.2, 3.3).
//
// It knows nothing of Kafka, and decides nothing about events. Only its exported methods open
// transactions. The pool belongs to the caller, who closes it after the last call.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/sql"
)

// Config bounds the store's transactions.
type Config struct {
	Attempts    int           // of one transaction that meets others, before it is given up; at least 2
	Timeout     time.Duration // of one attempt
	Concurrency int           // batches at a time; 0: four on PostgreSQL, any number on CockroachDB
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
		{"timeout", c.Timeout <= 0}, {"recheck", c.Recheck <= 0},
		{"seen_for", c.SeenFor <= 0}, {"sweep_every", c.SweepEvery <= 0}, {"sweep_page", c.SweepPage < 1},
		{"outbox_page", c.OutboxPage < 1}, {"read_page", c.ReadPage < 1},
	} {
		if x.bad {
			errs = append(errs, fmt.Errorf("%s must be positive", x.name))
		}
	}
	if c.Attempts < 2 {
		errs = append(errs, errors.New("attempts must be at least 2"))
	}
	if c.Concurrency < 0 {
		errs = append(errs, errors.New("concurrency must not be negative"))
	}
	return errors.Join(errs...)
}

// Store is safe for concurrent use; one partition of the log has one caller at a time.
type Store struct {
	cfg    Config
	pool   *pgxpool.Pool
	now    func() time.Time
	memory *memory
	busy   *inflight
	turns  chan struct{} // a token per batch at a time
	locks  chan struct{} // a token per batch that reads with locks
	kind   atomic.Int32  // of server, once known
}

// New makes a store over a pool of package sql's Open. It does not connect.
func New(cfg Config, pool *pgxpool.Pool) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the store: %w", err)
	}
	s := &Store{cfg: cfg, pool: pool, now: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }}
	s.memory, s.busy = newMemory(cfg.SeenFor), &inflight{busy: map[uuid.UUID]chan struct{}{}}
	s.turns, s.locks = make(chan struct{}, postgresTurns), make(chan struct{}, 1)
	if n := cfg.Concurrency; n > 0 {
		s.turns, s.locks = make(chan struct{}, n), make(chan struct{}, n)
	}
	return s, nil
}

// postgresTurns is how many batches write at a time on PostgreSQL. More only wait for each other.
const postgresTurns = 4

const (
	unknownServer int32 = iota
	postgres
	cockroach
)

// server tells which of the two servers this is; it connects the first time.
func (s *Store) server(ctx context.Context) (int32, error) {
	if kind := s.kind.Load(); kind != unknownServer {
		return kind, nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return unknownServer, fmt.Errorf("connect to the state store: %w", err)
	}
	defer conn.Release()
	kind := postgres
	if sql.IsCockroach(conn.Conn()) {
		kind = cockroach
	}
	s.kind.Store(kind)
	return kind, nil
}

// takeTurn waits until a batch may run.
func (s *Store) takeTurn(ctx context.Context) (giveBack func(), err error) {
	return s.take(ctx, s.turns)
}

// lockTurn waits until a batch may read with locks. On PostgreSQL two that overlap read and write the
// same pages of the indexes, which SERIALIZABLE takes for a conflict: most of the work of one is
// thrown away.
func (s *Store) lockTurn(ctx context.Context) (giveBack func(), err error) {
	return s.take(ctx, s.locks)
}

func (s *Store) take(ctx context.Context, tokens chan struct{}) (giveBack func(), err error) {
	if s.cfg.Concurrency == 0 {
		kind, err := s.server(ctx)
		if err != nil {
			return nil, err
		}
		if kind == cockroach {
			return func() {}, nil
		}
	}
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Text is s as the store can hold it. Whatever came from outside and is not yet so goes through it.
func Text(s string) string { return sql.Text(s) }
