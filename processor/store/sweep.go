package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	leaseTake = sql.Statement("lease_take")
	seenPage  = sql.Statement("seen_page")
	seenSweep = sql.Statement("seen_sweep")
)

const sweepLease = "sweep message_ids"

// Sweep forgets message ids that have expired, where the database does not do it itself, at most
// once per Config.SweepEvery over all processes. It answers how many it forgot.
func (s *Store) Sweep(ctx context.Context, holder string) (forgotten int64, err error) {
	due, err := s.sweepDue(ctx, holder)
	if err != nil || !due {
		return 0, err
	}
	var from, last uuid.UUID
	for more := true; more; from = last {
		if last, more, err = s.pageAfter(ctx, from); err != nil {
			return forgotten, err
		}
		// Outside InTx and its isolation: a row that expired an hour ago is in nobody's way.
		tag, err := s.pool.Exec(ctx, seenSweep, from, last, s.now())
		if err != nil && Classify(retryable(err)) != Retry {
			return forgotten, fmt.Errorf("sweep message ids: %w", err)
		}
		forgotten += tag.RowsAffected() // a page that met somebody is left for the next sweep
		if ctx.Err() != nil {
			return forgotten, ctx.Err()
		}
	}
	return forgotten, nil
}

// pageAfter is the end of a page; the last page ends at the greatest key there can be.
func (s *Store) pageAfter(ctx context.Context, from uuid.UUID) (last uuid.UUID, more bool, err error) {
	err = s.pool.QueryRow(ctx, seenPage, from, int64(s.cfg.SweepPage)).Scan(&last)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Max, false, nil
	}
	if err != nil {
		return last, false, fmt.Errorf("sweep message ids: %w", err)
	}
	return last, true, nil
}

func (s *Store) sweepDue(ctx context.Context, holder string) (bool, error) {
	kind, err := s.server(ctx)
	if err != nil || kind == cockroach { // which does it itself
		return false, err
	}
	now := s.now()
	var got string
	err = s.pool.QueryRow(ctx, leaseTake, sweepLease, holder, now.Add(s.cfg.SweepEvery), now).Scan(&got)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("sweep message ids: %w", err)
	}
	return true, nil
}

// RunSweeper sweeps now and then until ctx ends. report hears of every sweep that did something.
func (s *Store) RunSweeper(ctx context.Context, holder string, report func(forgotten int64, err error)) {
	t := time.NewTicker(max(s.cfg.SweepEvery/24, time.Minute))
	defer t.Stop()
	for {
		if n, err := s.Sweep(ctx, holder); ctx.Err() == nil && (n > 0 || err != nil) {
			report(n, err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
