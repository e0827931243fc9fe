package enginetest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	rerunVariable = "KEYSTONE_TEST_RERUN"
	linePrefix    = "rerun: "
	goneTimeout   = 2 * time.Minute
	gonePoll      = 20 * time.Millisecond
	drainTimeout  = 5 * time.Second // for its output, should a grandchild hold that
)

// Process is this test binary, run again as another process that can be killed.
type Process struct {
	child *embedded.Child
	lines chan string
	rest  bytes.Buffer // what it printed besides; read after lines is closed
}

// Rerun runs one test of this binary in a process of its own, with the given
// variables (NAME=value) in its environment. The test recognizes that by
// IsRerun, and talks by Say; the process is killed with the test that runs it.
// With a credential it runs as that account, from a copy in dir.
func Rerun(tb testing.TB, test string, as *syscall.Credential, dir string, env ...string) *Process {
	tb.Helper()
	binary, err := os.Executable()
	if err == nil && as != nil {
		binary, err = CopyFile(binary, filepath.Join(dir, "rerun.test"))
	}
	if err != nil {
		tb.Fatalf("rerun: %v", err)
	}
	cmd := embedded.Command(binary, "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), append(env, rerunVariable+"=1")...)
	if engines, err := embedded.EnginesDir(os.Getenv("KEYSTONE_ENGINES_DIR")); err == nil {
		cmd.Env = append(cmd.Env, "KEYSTONE_ENGINES_DIR="+engines) // not found from dir
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if as != nil {
		cmd.Dir = dir
	}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.WaitDelay = drainTimeout
	child, err := embedded.StartChild(cmd, syscall.SIGKILL)
	if err != nil {
		tb.Fatalf("rerun: %v", err)
	}
	p := &Process{child: child, lines: make(chan string, 16)}
	go func() {
		<-child.Done()
		_ = writer.Close()
	}()
	go p.read(reader)
	tb.Cleanup(p.Kill)
	return p
}

func (p *Process) read(out io.Reader) {
	defer close(p.lines)
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		if line, ok := strings.CutPrefix(scanner.Text(), linePrefix); ok {
			p.lines <- line
		} else {
			p.rest.WriteString(scanner.Text() + "\n")
		}
	}
}

// Line is the next line the process said. It fails the test when the process
// ends instead.
func (p *Process) Line(tb testing.TB) string {
	tb.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			tb.Fatalf("the other process ended: %s", p.rest.String())
		}
		return line
	case <-time.After(startTimeout):
		tb.Fatal("the other process says nothing")
		return ""
	}
}

// Kill is kill -9, and waits for the end of that process, not of its children.
func (p *Process) Kill() {
	p.child.Signal(syscall.SIGKILL)
	for range p.lines { // to the end of the output, or the process would wait
	}
	<-p.child.Done()
}

// IsRerun says whether this process was started by Rerun.
func IsRerun() bool { return os.Getenv(rerunVariable) != "" }

// Say sends a line to the process that called Rerun.
func Say(args ...any) { fmt.Print(linePrefix + fmt.Sprintln(args...)) }

// WaitGone waits until none of the processes is left and returns how long that
// took. It fails the test when one stays.
func WaitGone(tb testing.TB, pids ...int) time.Duration {
	tb.Helper()
	began := time.Now()
	for _, pid := range pids {
		for !gone(pid) {
			if time.Since(began) > goneTimeout {
				tb.Fatalf("process %d is still there after %s", pid, goneTimeout)
			}
			time.Sleep(gonePoll)
		}
	}
	return time.Since(began)
}

// gone takes a zombie for gone: where nobody reaps orphans they stay.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, afterName, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(afterName, "Z")
}

// CopyFile copies a program to where others can run it, and returns that path.
func CopyFile(from, to string) (string, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, data, 0o755)
}

// Folder is a temporary folder of the test that an unprivileged account can
// reach, unlike tb.TempDir under root.
func Folder(tb testing.TB) string {
	tb.Helper()
	return folder(tb, sharedBase())
}

// DiskFolder is a Folder where waiting for the disk means that: not in memory.
func DiskFolder(tb testing.TB) string {
	tb.Helper()
	for _, base := range []string{os.TempDir(), "/var/tmp"} {
		var fs unix.Statfs_t
		if unix.Statfs(base, &fs) == nil && fs.Type != unix.TMPFS_MAGIC && unix.Access(base, unix.W_OK) == nil {
			return folder(tb, base)
		}
	}
	tb.Skip("no temporary folder is on a disk; name one with TMPDIR")
	return ""
}

func folder(tb testing.TB, base string) string {
	tb.Helper()
	dir, err := os.MkdirTemp(base, "keystone-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove test folder: %v", err)
		}
	})
	return dir
}

// Nobody is an unprivileged credential for Rerun; the test is skipped when this
// process cannot change accounts.
func Nobody(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can run a process as another account")
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}
