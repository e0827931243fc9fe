package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
)

// cockroachVariable names the CockroachDB to test on.
const cockroachVariable = "COCKROACH_BINARY"

var (
	storeServer once[*statestore.Server]
	storeCount  atomic.Int64
)

// Store gives the test an empty database on the shared state store, dropped at
// its end, and returns its address: postgres://user:password@127.0.0.1:port/t<n>.
// Close what you opened before the test ends. The server is CockroachDB when
// COCKROACH_BINARY is set or cockroach is on $PATH, else PostgreSQL.
func Store(tb testing.TB) (dsn string) {
	tb.Helper()
	server, err := storeServer.get(startStore)
	Need(tb, err)
	name := fmt.Sprintf("t%d", storeCount.Add(1))
	if err := execStore(tb.Context(), server.DSN(), "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("create test database: %v", err)
	}
	drop := "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"
	if server.Kind() == statestore.Cockroach {
		drop = "DROP DATABASE IF EXISTS " + name + " CASCADE"
	}
	tb.Cleanup(func() {
		if err := execStore(context.Background(), server.DSN(), drop); err != nil {
			tb.Errorf("drop test database: %v", err)
		}
	})
	return server.DSNFor(name)
}

func execStore(ctx context.Context, dsn, statement string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func startStore(ctx context.Context, dir string) (*statestore.Server, func(context.Context) error, error) {
	cfg := storeConfig(filepath.Join(dir, "statestore"))
	server, err := statestore.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	err = server.Start(ctx)
	if cfg.CockroachBinary != "" && errors.Is(err, embedded.ErrNotInstalled) {
		// Whoever names one wants it: without it the tests fail, where they would be skipped else.
		err = fmt.Errorf("%s: %s", cockroachVariable, err.Error()) // no longer an ErrNotInstalled
	}
	return server, server.Stop, err
}

// StoreConfig is a configuration for a state store of a test's own, in dir,
// without fsync.
func StoreConfig(tb testing.TB, dir string) statestore.Config {
	tb.Helper()
	return storeConfig(dir)
}

func storeConfig(dir string) statestore.Config {
	cfg := statestore.DefaultConfig()
	cfg.DataDir, cfg.Fsync = dir, false
	cfg.SharedBuffersMB = 64
	cfg.CockroachBinary = os.Getenv(cockroachVariable)
	// Without the folder the system's own PostgreSQL may do.
	if engines, err := embedded.EnginesDir(os.Getenv("KEYSTONE_ENGINES_DIR")); err == nil {
		cfg.EnginesDir = engines
	}
	return cfg
}
