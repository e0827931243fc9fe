package store

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// newDSN is an empty state store with its schema.
func newDSN(tb testing.TB) string {
	tb.Helper()
	dsn := enginetest.Store(tb)
	if err := sql.Migrate(context.Background(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
	return dsn
}

func openPool(tb testing.TB, dsn string, conns int) *pgxpool.Pool {
	tb.Helper()
	pool, err := sql.Open(context.Background(), dsn, conns)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func newStore(tb testing.TB, dsn string, change ...func(*Config)) *Store {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Recheck = 5 * time.Second
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, openPool(tb, dsn, 8))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
