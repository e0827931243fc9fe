package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// Launcher is the keystone-clickhouse binary, built from this tree when the
// one in the cache is older than its sources.
func Launcher(tb testing.TB) string {
	tb.Helper()
	path, err := buildLauncher(tb.Context())
	Need(tb, err)
	return path
}

// cacheDir holds what the test binaries share: the launcher, and the note that
// the engine's library was hashed.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "keystone-enginetest")
	return dir, os.MkdirAll(dir, 0o700)
}

// buildLauncher builds under a lock, as the test binaries of several packages
// run at the same time, and moves the result into place whole.
func buildLauncher(ctx context.Context) (string, error) {
	root := embedded.RepositoryRoot()
	if root == "" {
		return "", errors.New("build launcher: no go.mod here or above")
	}
	dir, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("build launcher: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "build.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("build launcher: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock launcher's cache: %w", err)
	}
	// A checkout each: two trees must not take each other's binary for theirs.
	path := filepath.Join(dir, "launcher-"+strings.ReplaceAll(strings.Trim(root, "/"), "/", "-"))
	if upToDate(path, root) {
		return path, nil
	}
	tmp := path + ".tmp"
	build := exec.CommandContext(ctx, "go", "build", "-o", tmp, "./cmd/keystone-clickhouse")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build launcher: %w: %s", err, out)
	}
	return path, os.Rename(tmp, path)
}

// upToDate says whether the binary is newer than everything it is built from.
func upToDate(binary, root string) bool {
	built, err := os.Stat(binary)
	if err != nil {
		return false
	}
	sources, _ := filepath.Glob(filepath.Join(root, "cmd", "keystone-clickhouse", "*.go"))
	for _, source := range append(sources, filepath.Join(root, "go.mod")) {
		info, err := os.Stat(source)
		if err != nil || !info.ModTime().Before(built.ModTime()) {
			return false
		}
	}
	return true
}
