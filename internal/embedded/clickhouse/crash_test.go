package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const (
	folderVariable   = "KEYSTONE_TEST_CLICKHOUSE"
	libVariable      = "KEYSTONE_TEST_LIB"
	launcherVariable = "KEYSTONE_TEST_LAUNCHER"
	verifiedVariable = "KEYSTONE_TEST_VERIFIED"
)

// TestHelperServer is the process that others run and kill: it starts a server,
// inserts a row and waits for its end.
func TestHelperServer(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("run by other tests")
	}
	cfg := clickhouse.DefaultConfig()
	cfg.DataDir, cfg.Lib, cfg.Launcher = os.Getenv(folderVariable), os.Getenv(libVariable), os.Getenv(launcherVariable)
	cfg.VerifiedFile = os.Getenv(verifiedVariable)
	server, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	conn := open(t, server.NativeDSN())
	exec(t, conn, "CREATE TABLE IF NOT EXISTS kept (x UInt64) ENGINE = MergeTree ORDER BY x", "INSERT INTO kept SELECT count() FROM kept")
	enginetest.Say(server.Pid(), count(t, conn, "SELECT count() FROM kept"))
	select {} // until killed
}

// runAndKill starts a server in another process, kills that process with -9,
// waits for the engine's end and returns how many rows there were.
func runAndKill(t *testing.T, dir string, as *syscall.Credential, cfg clickhouse.Config) int {
	t.Helper()
	other := enginetest.Rerun(t, "TestHelperServer", as, filepath.Dir(dir),
		folderVariable+"="+dir, libVariable+"="+cfg.Lib, launcherVariable+"="+cfg.Launcher, verifiedVariable+"="+cfg.VerifiedFile)
	var pid, rows int
	if _, err := fmt.Sscan(other.Line(t), &pid, &rows); err != nil {
		t.Fatal(err)
	}
	other.Kill()
	t.Logf("engine gone %s after kill -9 of its parent", enginetest.WaitGone(t, pid))
	return rows
}

func TestKilledParentTakesTheEngineAlongAndLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "clickhouse")
	cfg := enginetest.ClickHouseConfig(t, dir)
	for want := 1; want <= 2; want++ {
		if rows := runAndKill(t, dir, nil, cfg); rows != want {
			t.Errorf("%d rows at start %d", rows, want)
		}
	}
	server := start(t, cfg)
	if n := count(t, open(t, server.NativeDSN()), "SELECT count() FROM kept"); n != 2 {
		t.Errorf("%d of 2 rows survived", n)
	}
}

func TestRunsWithoutPrivileges(t *testing.T) {
	nobody := enginetest.Nobody(t)
	folder := enginetest.Folder(t)
	dir := filepath.Join(folder, "clickhouse")
	cfg := enginetest.ClickHouseConfig(t, dir)
	var err error
	if cfg.Launcher, err = enginetest.CopyFile(cfg.Launcher, filepath.Join(folder, "keystone-clickhouse")); err != nil {
		t.Fatal(err)
	}
	cfg.VerifiedFile = "" // in the data folder
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(nobody.Uid), int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	if rows := runAndKill(t, dir, nobody, cfg); rows != 1 {
		t.Errorf("%d rows, want 1", rows)
	}
}

func TestDeadEngineIsBroughtBack(t *testing.T) {
	var exits atomic.Int64
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	cfg.OnExit = func(error) { exits.Add(1) }
	server := start(t, cfg)
	address := server.NativeDSN()
	conn := open(t, address)
	exec(t, conn, "CREATE TABLE kept (x UInt64) ENGINE = MergeTree ORDER BY x", "INSERT INTO kept VALUES (1)")

	dead := server.Pid()
	if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for server.Restarts() == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("the engine was not brought back")
		case err := <-server.Failed():
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if server.Pid() == dead || exits.Load() != 1 {
		t.Errorf("pid %d as before, or %d deaths reported instead of 1", server.Pid(), exits.Load())
	}
	if server.NativeDSN() != address {
		t.Error("the address changed")
	}
	if n := count(t, open(t, address), "SELECT count() FROM kept"); n != 1 {
		t.Errorf("%d of 1 rows survived", n)
	}
}

// The engine of a parent that was killed needs a moment to leave; a successor
// that starts at once waits for it.
func TestStartWaitsForAPredecessorToLeave(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	status, err := os.Create(filepath.Join(cfg.DataDir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(status.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	server, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := server.Start(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start beside an engine: %v", err)
	}
	time.AfterFunc(500*time.Millisecond, func() { _ = status.Close() })
	start(t, cfg)
}

func TestStopIsNotADeath(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	cfg.OnExit = func(err error) { t.Errorf("reported: %v", err) }
	server := start(t, cfg)
	pid := server.Pid()
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Stop(expired); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	enginetest.WaitGone(t, pid)
	if err := server.Stop(context.Background()); err != nil {
		t.Errorf("second stop: %v", err)
	}
}

func TestStopLeavesNoGoroutines(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	before := goleak.IgnoreCurrent()
	server, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a stopped server starts again
		if err := server.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(testContext(t)); err != nil {
			t.Errorf("second start: %v", err)
		}
		stop(t, server)
	}
	goleak.VerifyNone(t, before)
}
