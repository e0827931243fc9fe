package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	chgo "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
)

// ClickHouseDB is a database of one test on the shared ClickHouse server.
type ClickHouseDB struct {
	NativeDSN string // clickhouse://user:password@127.0.0.1:port/database?compress=lz4
	HTTPURL   string // http://127.0.0.1:port
	User      string
	Password  string
	Database  string // keystone_t<n>
}

var (
	clickhouseServers once[[]*clickhouse.Server]
	clickhouseCount   atomic.Int64
)

// ClickHouse gives the test an empty database, dropped at its end. Where there are shards it is one of the
// first's, and the others have one of that name.
func ClickHouse(tb testing.TB) ClickHouseDB {
	tb.Helper()
	servers, err := clickhouseServers.get(startClickHouse)
	Need(tb, err)
	server := servers[0]
	db := ClickHouseDB{
		HTTPURL:  server.HTTPURL(),
		User:     server.User(),
		Password: server.Password(),
		Database: fmt.Sprintf("%s_t%d", clickhouse.Database, clickhouseCount.Add(1)),
	}
	db.NativeDSN = server.NativeDSNFor(db.Database)
	for _, server := range servers {
		if err := execClickHouse(tb.Context(), server.NativeDSN(), "CREATE DATABASE "+db.Database); err != nil {
			tb.Fatalf("create test database: %v", err)
		}
		tb.Cleanup(func() {
			if err := execClickHouse(context.Background(), server.NativeDSN(), "DROP DATABASE IF EXISTS "+db.Database+" SYNC"); err != nil {
				tb.Errorf("drop test database: %v", err)
			}
		})
	}
	return db
}

func execClickHouse(ctx context.Context, dsn, statement string) error {
	opt, err := chgo.ParseDSN(dsn)
	if err != nil {
		return err
	}
	conn, err := chgo.Open(opt)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Exec(ctx, statement)
}

func startClickHouse(ctx context.Context, dir string) ([]*clickhouse.Server, func(context.Context) error, error) {
	cfg, err := clickHouseConfig(ctx, filepath.Join(dir, "clickhouse"))
	if err != nil {
		return nil, nil, err
	}
	n, err := shards()
	if err != nil {
		return nil, nil, err
	}
	configs := []clickhouse.Config{cfg}
	if n > 0 {
		if configs, err = cluster(cfg, n); err != nil {
			return nil, nil, err
		}
	}
	var servers []*clickhouse.Server
	stop := func(ctx context.Context) (err error) {
		for _, server := range servers {
			err = errors.Join(err, server.Stop(ctx))
		}
		return err
	}
	for _, cfg := range configs {
		server, err := clickhouse.New(cfg)
		if err == nil {
			servers = append(servers, server)
			err = server.Start(ctx)
		}
		if err != nil {
			return nil, nil, errors.Join(err, stop(ctx))
		}
	}
	return servers, stop, nil
}

// ServeClickHouse starts a server of the test's own, and stops it at its end.
func ServeClickHouse(tb testing.TB, cfg clickhouse.Config) *clickhouse.Server {
	tb.Helper()
	server, err := clickhouse.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := server.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return server
}

// ClickHouseConfig is a configuration for a server of a test's own, in dir: the
// installed library, the built launcher, no fsync.
func ClickHouseConfig(tb testing.TB, dir string) clickhouse.Config {
	tb.Helper()
	cfg, err := clickHouseConfig(tb.Context(), dir)
	Need(tb, err)
	return cfg
}

func clickHouseConfig(ctx context.Context, dir string) (clickhouse.Config, error) {
	cfg := clickhouse.DefaultConfig()
	cfg.DataDir, cfg.FsyncInserts = dir, false
	engines, err := embedded.EnginesDir(os.Getenv("KEYSTONE_ENGINES_DIR"))
	if err != nil {
		return cfg, err
	}
	if cfg.Lib, err = embedded.ClickHouseLib(engines); err != nil {
		return cfg, err
	}
	if cfg.Launcher, err = buildLauncher(ctx); err != nil {
		return cfg, err
	}
	cache, err := cacheDir()
	if err != nil {
		return cfg, err
	}
	// One note for each library, so that two trees do not hash in turns.
	cfg.VerifiedFile = filepath.Join(cache, "verified-"+strings.ReplaceAll(strings.Trim(cfg.Lib, "/"), "/", "-"))
	return cfg, nil
}
