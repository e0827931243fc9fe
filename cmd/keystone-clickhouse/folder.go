package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// errFolderLocked says that another engine runs on the data folder.
var errFolderLocked = errors.New("data folder is in use by another server")

// checkFolderFree looks at the lock the engine itself will take. The engine
// would refuse too, but tells it on stderr only and ends with status 0.
func checkFolderFree(dataDir string) error {
	f, err := os.Open(filepath.Join(dataDir, "status"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for another server: %w", err)
	}
	defer f.Close() // gives the lock free
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errFolderLocked
	}
	return err
}

// writeSystemDatabase declares the system database on disk before the engine's
// first start. Without the file that database lives in memory while its log
// tables stay on disk, and from the second start on every system log fails in
// a hot loop.
func writeSystemDatabase(dataDir string) error {
	path := filepath.Join(dataDir, "metadata", "system.sql")
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for system database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create metadata folder: %w", err)
	}
	statement := fmt.Sprintf("ATTACH DATABASE _ UUID '%s' ENGINE = Atomic\n", randomUUID())
	if err := embedded.WriteFile(path, []byte(statement)); err != nil {
		return fmt.Errorf("declare system database: %w", err)
	}
	return nil
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
