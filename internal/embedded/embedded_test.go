package embedded_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func TestEnginesAreFoundFromAnyFolderBelow(t *testing.T) {
	root := t.TempDir()
	engines := filepath.Join(root, "deploy", "engines", "node_modules")
	deep := filepath.Join(root, "a", "b")
	for _, dir := range []string{engines, deep, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	launcher := filepath.Join(root, "bin", "keystone-clickhouse")
	for _, file := range []string{launcher, filepath.Join(root, "go.mod")} {
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(deep)
	if got, err := embedded.EnginesDir(""); err != nil || got != engines {
		t.Errorf("engines: %q, %v", got, err)
	}
	if got, err := embedded.EnginesDir(engines); err != nil || got != engines {
		t.Errorf("explicit engines: %q, %v", got, err)
	}
	if got, err := embedded.Launcher(""); err != nil || got != launcher {
		t.Errorf("launcher: %q, %v", got, err)
	}
	if got := embedded.RepositoryRoot(); got != root {
		t.Errorf("root: %q", got)
	}
}

func TestWhatIsAbsentNamesTheCommandThatInstallsIt(t *testing.T) {
	t.Chdir(t.TempDir())
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for name, test := range map[string]struct {
		find func() (string, error)
		want string
	}{
		"engines":           {func() (string, error) { return embedded.EnginesDir("") }, `run "make setup"`},
		"explicit engines":  {func() (string, error) { return embedded.EnginesDir(nowhere) }, `run "make setup"`},
		"library":           {func() (string, error) { return embedded.ClickHouseLib(nowhere) }, `run "make setup"`},
		"launcher":          {func() (string, error) { return embedded.Launcher("") }, `run "make build"`},
		"explicit launcher": {func() (string, error) { return embedded.Launcher(nowhere) }, `run "make build"`},
	} {
		path, err := test.find()
		if !errors.Is(err, embedded.ErrNotInstalled) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v, want an error with %s", name, path, err, test.want)
		}
	}
}

func TestPortIsRememberedWhileItIsFree(t *testing.T) {
	memo := filepath.Join(t.TempDir(), "port")
	first, err := embedded.ChoosePort(0, memo)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := embedded.ChoosePort(0, memo); err != nil || again != first {
		t.Errorf("chose %d, then %d (%v)", first, again, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	other, err := embedded.ChoosePort(0, memo)
	if err != nil || other == first {
		t.Errorf("chose the busy port %d again (%v)", other, err)
	}
	_, err = embedded.ChoosePort(first, memo)
	if !errors.Is(err, embedded.ErrPortInUse) || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", first)) {
		t.Errorf("explicit busy port: %v", err)
	}
	if err := os.WriteFile(memo, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.ChoosePort(0, memo); err != nil {
		t.Errorf("damaged memo: %v", err)
	}
}

func TestSecretIsKeptPrivateAndStaysTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	first, err := embedded.Secret(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 48 {
		t.Errorf("secret of %d characters", len(first))
	}
	if second, err := embedded.Secret(path); err != nil || second != first {
		t.Errorf("read back: %t, %v", second == first, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Secret(path); err == nil {
		t.Error("a damaged secret is taken")
	}
}

func TestFolderLockNamesItsOwner(t *testing.T) {
	dir := t.TempDir()
	first, err := embedded.LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.LockFolder(dir)
	if !errors.Is(err, embedded.ErrFolderInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second lock: %v, want it refused with our pid", err)
	}
	first.Release()
	first.Release()
	again, err := embedded.LockFolder(dir)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again.Release()
}

func TestTailKeepsTheLastWords(t *testing.T) {
	var tail embedded.Tail
	for i := range 10_000 {
		fmt.Fprintln(&tail, i)
	}
	got := tail.String()
	if len(got) > 4<<10 || !strings.HasSuffix(got, "9998\n9999") {
		t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestChildReportsItsEnd(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": -1} {
		child, err := embedded.StartChild(exec.Command("sh", "-c", script), syscall.SIGTERM)
		if err != nil {
			t.Fatal(err)
		}
		<-child.Done()
		if child.ExitCode() != want {
			t.Errorf("%s: exit code %d, want %d", script, child.ExitCode(), want)
		}
	}
	if _, err := embedded.StartChild(exec.Command("/nonexistent"), syscall.SIGTERM); err == nil {
		t.Error("a program that is not there starts")
	}
}

// TestHelperParent is the process that TestChildDiesWithItsParent kills. Its
// threads come and go, as a Go process's do: the kernel ties the death signal
// to one of them.
func TestHelperParent(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("run by another test")
	}
	child, err := embedded.StartChild(exec.Command("sleep", "600"), syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	var threads sync.WaitGroup
	for range 50 {
		threads.Go(runtime.LockOSThread) // never unlocked: the thread ends with its goroutine
	}
	threads.Wait()
	select {
	case <-child.Done():
		t.Fatal("the child died with a thread")
	default:
	}
	enginetest.Say(child.Pid())
	select {} // until killed
}

func TestChildDiesWithItsParent(t *testing.T) {
	other := enginetest.Rerun(t, "TestHelperParent", nil, "")
	var pid int
	if _, err := fmt.Sscan(other.Line(t), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the child is gone before its parent: %v", err)
	}
	other.Kill()
	enginetest.WaitGone(t, pid)
}

// Engines start side by side: a child that is being started must not keep a probed port.
func TestProbedPortIsFreeWhileChildrenStart(t *testing.T) {
	done := make(chan struct{})
	var starting sync.WaitGroup
	for range 2 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = exec.Command("/bin/true").Run() // only its start matters
				}
			}
		})
	}
	defer starting.Wait()
	defer close(done)
	for range 500 {
		port, err := embedded.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close() // nobody else knows it
	}
}
