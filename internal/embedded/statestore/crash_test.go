package statestore_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
)

const folderVariable = "KEYSTONE_TEST_STATESTORE"

// TestHelperServer is the process that TestKill… run and kill: it starts a
// server, commits a row and waits for its end.
func TestHelperServer(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("run by other tests")
	}
	server, err := statestore.New(enginetest.StoreConfig(t, os.Getenv(folderVariable)))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, server.DSN())
	exec(t, conn, "CREATE TABLE IF NOT EXISTS kept (x INT8 PRIMARY KEY)", "INSERT INTO kept SELECT count(*) + 1 FROM kept")
	enginetest.Say(server.Pid(), text(t, conn, "SELECT count(*)::TEXT FROM kept"))
	select {} // until killed
}

// runAndKill starts a server in another process, kills that process with -9,
// waits for the server's end and returns how many rows there were.
func runAndKill(t *testing.T, dir string, as *syscall.Credential) int {
	t.Helper()
	other := enginetest.Rerun(t, "TestHelperServer", as, filepath.Dir(dir), folderVariable+"="+dir)
	var pid, rows int
	if _, err := fmt.Sscan(other.Line(t), &pid, &rows); err != nil {
		t.Fatal(err)
	}
	workers := children(t, pid)
	if len(workers) == 0 {
		t.Fatal("the server has no workers")
	}
	other.Kill()
	t.Logf("server and %d workers gone %s after kill -9 of their parent", len(workers), enginetest.WaitGone(t, append(workers, pid)...))
	return rows
}

func children(t *testing.T, pid int) []int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skipf("the kernel lists no children: %v", err)
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		var child int
		if _, err := fmt.Sscan(field, &child); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

func TestKilledParentTakesTheServerAlongAndLosesNothing(t *testing.T) {
	dir := filepath.Join(enginetest.Folder(t), "statestore")
	for want := 1; want <= 2; want++ { // the second start recovers
		if rows := runAndKill(t, dir, nil); rows != want {
			t.Errorf("%d rows at start %d", rows, want)
		}
	}
	server := start(t, enginetest.StoreConfig(t, dir))
	if got := text(t, connect(t, server.DSN()), "SELECT count(*)::TEXT FROM kept"); got != "2" {
		t.Errorf("%s of 2 rows survived", got)
	}
}

func TestRunsWithoutPrivileges(t *testing.T) {
	nobody := enginetest.Nobody(t)
	folder := enginetest.Folder(t)
	dir := filepath.Join(folder, "statestore")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(nobody.Uid), int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	if rows := runAndKill(t, dir, nobody); rows != 1 {
		t.Errorf("%d rows, want 1", rows)
	}
	// Root takes the folder over: the server runs as the owner of its data.
	server := start(t, enginetest.StoreConfig(t, dir))
	if got := text(t, connect(t, server.DSN()), "SELECT count(*)::TEXT FROM kept"); got != "1" {
		t.Errorf("%s of 1 rows survived", got)
	}
}

// Below a folder that only root may pass the data go elsewhere, and are found
// there again.
func TestUnreachableFolderIsReplaced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs the server as another account")
	}
	private := enginetest.Folder(t)
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(private, "statestore")
	cfg := enginetest.StoreConfig(t, dir)
	cfg.Kind = statestore.Postgres
	first := start(t, cfg)
	exec(t, connect(t, first.DSN()), "CREATE TABLE kept (x INT8 PRIMARY KEY)", "INSERT INTO kept VALUES (7)")
	stop(t, first)
	place, err := os.ReadFile(filepath.Join(dir, "place"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(strings.TrimSpace(string(place))) })
	second := start(t, cfg)
	if got := text(t, connect(t, second.DSN()), "SELECT x::TEXT FROM kept"); got != "7" {
		t.Errorf("row is %s, want 7", got)
	}
	stop(t, second)

	if err := os.RemoveAll(strings.TrimSpace(string(place))); err != nil {
		t.Fatal(err)
	}
	third, err := statestore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Start(testContext(t)); err == nil || !strings.Contains(err.Error(), "gone") {
		stop(t, third)
		t.Errorf("start without the data's place: %v, want it refused", err)
	}
}

// A postmaster that was killed leaves a pid file; the next start must not care,
// whoever has that number now.
func TestStalePidFileIsNoObstacle(t *testing.T) {
	cfg := enginetest.StoreConfig(t, filepath.Join(enginetest.Folder(t), "statestore"))
	cfg.Kind = statestore.Postgres
	first := start(t, cfg)
	if err := syscall.Kill(first.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-first.Failed():
		t.Logf("reported: %v", err)
	case <-testContext(t).Done():
		t.Fatal("nobody reports the dead server")
	}
	stop(t, first)

	bystander := osexec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	pidFile := filepath.Join(cfg.DataDir, "pgdata", "postmaster.pid")
	if err := os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", bystander.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	connect(t, start(t, cfg).DSN())
}

func TestStopLeavesNoGoroutines(t *testing.T) {
	cfg := enginetest.StoreConfig(t, filepath.Join(enginetest.Folder(t), "statestore"))
	before := goleak.IgnoreCurrent()
	server, err := statestore.New(cfg)
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
