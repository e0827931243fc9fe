package statestore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
)

const testTimeout = 3 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, cfg statestore.Config) *statestore.Server {
	t.Helper()
	server, err := statestore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := server.Start(testContext(t)); err != nil {
		enginetest.Need(t, err)
	}
	t.Logf("%s started in %s", server.Kind(), time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *statestore.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	began := time.Now()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(testContext(t), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func text(t *testing.T, conn *pgx.Conn, query string) string {
	t.Helper()
	var s string
	if err := conn.QueryRow(testContext(t), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func TestDataAndAddressSurviveARestart(t *testing.T) {
	cfg := enginetest.StoreConfig(t, enginetest.Folder(t))
	first := start(t, cfg)
	conn := connect(t, first.DSN())
	exec(t, conn, "CREATE TABLE kept (x INT8 PRIMARY KEY)", "INSERT INTO kept VALUES (1), (2), (3)")
	// Left open on purpose: a fast shutdown ends it.
	stop(t, first)
	second := start(t, cfg)
	if second.DSN() != first.DSN() {
		t.Error("the address changed over a restart")
	}
	if got := text(t, connect(t, second.DSN()), "SELECT count(*)::TEXT FROM kept"); got != "3" {
		t.Errorf("%s of 3 rows survived", got)
	}
}

// A relative folder, as "make run" gives it.
func TestPostgresIsConfiguredAsTheStandIn(t *testing.T) {
	cfg := enginetest.StoreConfig(t, "data")
	t.Chdir(enginetest.Folder(t))
	cfg.Kind, cfg.Fsync, cfg.SharedBuffersMB = statestore.Postgres, true, 256
	conn := connect(t, start(t, cfg).DSN())
	for name, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
		"default_transaction_isolation":  "serializable",
		"max_pred_locks_per_transaction": "1024", "deadlock_timeout": "100ms",
		"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_custom_plan",
		"shared_buffers": "256MB", "max_wal_size": "2GB", "listen_addresses": "127.0.0.1",
		"unix_socket_directories": "", "server_encoding": "UTF8", "TimeZone": "UTC",
	} {
		if got := text(t, conn, "SHOW "+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := text(t, conn, "SELECT datcollate FROM pg_database WHERE datname = 'keystone'"); got != "C" {
		t.Errorf("collation is %q, want C", got)
	}
}

func TestRunningServer(t *testing.T) {
	cfg := enginetest.StoreConfig(t, filepath.Join(enginetest.Folder(t), "statestore"))
	server := start(t, cfg)

	t.Run("refuses a wrong password", func(t *testing.T) {
		if server.Kind() != statestore.Postgres {
			t.Skip("CockroachDB runs without passwords")
		}
		login, err := pgx.ParseConfig(server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		for _, password := range []string{"", "wrong"} {
			login.Password = password
			if conn, err := pgx.ConnectConfig(testContext(t), login); err == nil {
				_ = conn.Close(testContext(t))
				t.Errorf("password %q is let in", password)
			}
		}
	})

	t.Run("refuses a second one on its folder", func(t *testing.T) {
		second, err := statestore.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = second.Start(testContext(t))
		if !errors.Is(err, embedded.ErrFolderInUse) || !strings.Contains(err.Error(), cfg.DataDir) {
			t.Errorf("second server: %v, want it refused with the folder's name", err)
		}
		connect(t, server.DSN())
	})

	t.Run("is not root", func(t *testing.T) {
		if os.Geteuid() != 0 || server.Kind() != statestore.Postgres {
			t.Skip("only root can tell, and CockroachDB may")
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d", server.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid == 0 {
			t.Error("PostgreSQL runs as root")
		}
	})

	t.Run("keeps its files from others", func(t *testing.T) {
		for _, name := range []string{"password", "pgdata", "postgres.log", "pgdata/postgresql.conf", "pgdata/pg_hba.conf"} {
			info, err := os.Stat(filepath.Join(cfg.DataDir, name))
			if err != nil {
				t.Error(err)
			} else if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s", name, info.Mode())
			}
		}
	})
}

func TestBusyPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cfg := enginetest.StoreConfig(t, enginetest.Folder(t))
	cfg.Port = listener.Addr().(*net.TCPAddr).Port
	server, err := statestore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(testContext(t)); !errors.Is(err, embedded.ErrPortInUse) || !strings.Contains(err.Error(), "port ") {
		t.Errorf("start: %v, want the busy port named", err)
	}
}

func TestSystemsOwnPostgresServesToo(t *testing.T) {
	cfg := enginetest.StoreConfig(t, enginetest.Folder(t))
	cfg.Kind, cfg.EnginesDir = statestore.Postgres, ""
	server, err := statestore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = server.Start(testContext(t))
	if errors.Is(err, embedded.ErrNotInstalled) {
		t.Skip("this system has no PostgreSQL of its own")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	t.Log(text(t, connect(t, server.DSN()), "SHOW server_version"))
}
