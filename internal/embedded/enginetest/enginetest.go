// Package enginetest hands real engines to tests: a database of their own on a
// state store and on a ClickHouse server that one test binary shares, and a
// log of their own: kfake, or with KEYSTONE_TEST_LOG=kafka an Apache Kafka that
// the binary's tests have one after the other. Only tests import it.
//
// A package that uses it declares
//
//	func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }
//
// so that the shared servers, started by the first test that asks, are stopped
// by the last. An engine that is not installed skips the test on a laptop and
// fails it when the environment variable CI is set. Everything is on loopback,
// on free ports, in a temporary folder that Main removes.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = 90 * time.Second
)

// shared is what one test binary holds: at most one server of each kind.
var shared struct {
	mu    sync.Mutex
	dir   string // all data of the servers; made by the first
	stops []func(context.Context) error
}

// Main runs the tests, stops the shared servers and returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "enginetest:", err)
		if code == 0 {
			code = 1
		}
	}
	return code
}

func stopShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, stop := range shared.stops {
		errs = append(errs, stop(ctx))
	}
	shared.stops = nil
	if shared.dir != "" {
		errs = append(errs, os.RemoveAll(shared.dir))
	}
	return errors.Join(errs...)
}

// sharedDir is the folder of the shared servers. The caller holds shared.mu.
func sharedDir() (string, error) {
	if shared.dir == "" {
		base := sharedBase()
		sweep(base)
		dir, err := os.MkdirTemp(base, folderPrefix+strconv.Itoa(os.Getpid())+"-")
		if err != nil {
			return "", err
		}
		// The state store's unprivileged account must reach what is below.
		if err := os.Chmod(dir, 0o711); err != nil {
			return "", err
		}
		shared.dir = dir
	}
	return shared.dir, nil
}

const (
	folderPrefix = "keystone-enginetest-"
	memoryBase   = "/dev/shm"
	memoryFree   = 2 << 30 // bytes wanted of it
)

// sharedBase is memory where there is plenty and programs may run from it
// (PostgreSQL's are put beside its data): the state store is initialized there
// in a third of the time.
func sharedBase() string {
	var fs unix.Statfs_t
	if unix.Statfs(memoryBase, &fs) == nil && fs.Flags&unix.ST_NOEXEC == 0 &&
		int64(fs.Bavail)*fs.Bsize > memoryFree && unix.Access(memoryBase, unix.W_OK) == nil {
		return memoryBase
	}
	return os.TempDir()
}

// sweep removes the folders of test binaries that were killed: memory is dear.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, folderPrefix+"*"))
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		if pid, err := strconv.Atoi(owner); err == nil && gone(pid) {
			_ = os.RemoveAll(dir)
		}
	}
}

// once starts a shared server at the first call and remembers how that went.
type once[T any] struct {
	done   bool
	server T
	err    error
}

func (o *once[T]) get(start func(ctx context.Context, dir string) (T, func(context.Context) error, error)) (T, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if o.done {
		return o.server, o.err
	}
	o.done = true
	dir, err := sharedDir()
	if err != nil {
		o.err = err
		return o.server, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	server, stop, err := start(ctx, dir)
	if err != nil {
		o.err = err
		return o.server, err
	}
	shared.stops = append(shared.stops, stop)
	o.server = server
	return server, nil
}

// Need ends a test whose engine could not be had: a skip for one that is not
// installed, unless CI is set; a failure for everything else.
func Need(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if errors.Is(err, embedded.ErrNotInstalled) && os.Getenv("CI") == "" {
		tb.Skipf("needs an engine: %v", err)
	}
	tb.Fatalf("start engine: %v", err)
}

// EnginesDir is the folder of the installed engines.
func EnginesDir(tb testing.TB) string {
	tb.Helper()
	dir, err := embedded.EnginesDir(os.Getenv("KEYSTONE_ENGINES_DIR"))
	Need(tb, err)
	return dir
}
