package clickhouse_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const testTimeout = 3 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// start gives a running server that the test's end stops.
func start(t *testing.T, cfg clickhouse.Config) *clickhouse.Server {
	t.Helper()
	server, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := server.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *clickhouse.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	began := time.Now()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
}

func open(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	opt, err := chgo.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := chgo.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if err := conn.Exec(testContext(t), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func count(t *testing.T, conn driver.Conn, query string) uint64 {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(testContext(t), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestDataAndPasswordSurviveARestart(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	first := start(t, cfg)
	conn := open(t, first.NativeDSN())
	exec(t, conn,
		"CREATE TABLE kept (x UInt64) ENGINE = MergeTree ORDER BY x",
		"INSERT INTO kept SELECT number FROM numbers(1000)",
		"SYSTEM FLUSH LOGS")
	_ = conn.Close()
	stop(t, first)

	second := start(t, cfg)
	if second.NativeDSN() != first.NativeDSN() || second.HTTPDSN() != first.HTTPDSN() {
		t.Error("the addresses changed over a restart")
	}
	conn = open(t, second.NativeDSN())
	if n := count(t, conn, "SELECT count() FROM kept"); n != 1000 {
		t.Errorf("%d of 1000 rows survived", n)
	}
	exec(t, conn, "SYSTEM FLUSH LOGS")
	if n := count(t, conn, "SELECT uniqExact(toStartOfInterval(event_time, INTERVAL 1 DAY)) FROM system.query_log"); n == 0 {
		t.Error("system.query_log is empty")
	}
	if n := count(t, conn, "SELECT count() FROM system.query_log WHERE query LIKE 'INSERT INTO kept%' AND type = 'QueryFinish'"); n != 1 {
		t.Errorf("the first run's insert is %d times in system.query_log", n)
	}
}

// A client that keeps its connection and says nothing (a dashboard, a browser) holds up no end. Without
// the launcher's doing the engine waits five seconds for it, however quick the machine is: one end that is
// quicker shows that it does not, and on a machine under load not every one need be.
func TestIdleClientsHoldUpNoEnd(t *testing.T) {
	var took []time.Duration
	for range 4 {
		took = append(took, stopWithIdleClients(t))
		if took[len(took)-1] < 5*time.Second {
			return
		}
	}
	t.Errorf("the ends took %s", took)
}

// stopWithIdleClients is how long a server's end takes.
func stopWithIdleClients(t *testing.T) time.Duration {
	t.Helper()
	server := start(t, enginetest.ClickHouseConfig(t, t.TempDir()))
	conn := open(t, server.NativeDSN()) // closed after the server
	if err := conn.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(server.HTTPDSN() + "&query=SELECT+1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // back into the pool, open
	began := time.Now()
	stop(t, server)
	return time.Since(began)
}

// Its folder is a relative one, as "make run" gives it.
func TestServerIsConfiguredAsAsked(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, "data")
	t.Chdir(t.TempDir())
	cfg.FsyncInserts = true
	conn := open(t, start(t, cfg).NativeDSN())
	for query, want := range map[string]string{
		"SELECT timezone()": "UTC",
		"SELECT value FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'":  "1",
		"SELECT value FROM system.settings WHERE name = 'async_insert'":                   "0",
		"SELECT value FROM system.settings WHERE name = 'implicit_select'":                "0",
		"SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'": "2147483648",
		"SELECT value FROM system.server_settings WHERE name = 'mark_cache_size'":         "268435456",
		"SELECT value FROM system.server_settings WHERE name = 'max_connections'":         "512",
		"SELECT value FROM system.server_settings WHERE name = 'max_concurrent_queries'":  "100",
		"SELECT engine FROM system.databases WHERE name = 'system'":                       "Atomic",
		"SELECT engine FROM system.databases WHERE name = 'keystone'":                     "Atomic",
	} {
		var got string
		if err := conn.QueryRow(testContext(t), query).Scan(&got); err != nil {
			t.Errorf("%s: %v", query, err)
		} else if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestSecondServerOnTheSameFolderIsRefused(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	first := start(t, cfg)
	second, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(testContext(t))
	if !errors.Is(err, embedded.ErrFolderInUse) || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("second server: %v, want it refused with the folder's name", err)
	}
	exec(t, open(t, first.NativeDSN()), "SELECT 1")
}

func TestBusyPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	busy := listener.Addr().(*net.TCPAddr).Port
	for name, set := range map[string]func(*clickhouse.Config){
		"http": func(c *clickhouse.Config) { c.HTTPPort = busy },
		"tcp":  func(c *clickhouse.Config) { c.TCPPort = busy },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := enginetest.ClickHouseConfig(t, t.TempDir())
			set(&cfg)
			server, err := clickhouse.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = server.Start(testContext(t))
			if !errors.Is(err, embedded.ErrPortInUse) || !strings.Contains(err.Error(), "port ") {
				t.Errorf("start: %v, want the busy port named", err)
			}
		})
	}
}
