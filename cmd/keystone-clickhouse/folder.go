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

// The engine's SQL function file(path) reads whatever its account may, and asks for no grant: as a
// command-line tool it takes its user for that account. It would show any analyst the passwords and
// everybody's rows. But it first looks where relative paths begin, whatever it is asked for, and fails
// where there is no such place. So the engine runs in a folder that is no more. It cannot begin in one;
// the folder goes when the engine is up and before it listens: its session's first statement reads a
// pipe (with that function), and waits there for us.
//
// This rests on how the pinned engine is written. TestNoFileIsReadable in analytics/access holds it to
// it, and every new analyst's login is tried before it is handed out.
const (
	nowhereDir = "nowhere"
	gateFile   = "gate"
)

// enterNowhere enters the folder, and makes the gate that openGate opens.
func enterNowhere(dataDir string) error {
	nowhere, gate := filepath.Join(dataDir, nowhereDir), filepath.Join(dataDir, gateFile)
	if err := os.Mkdir(nowhere, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the folder to leave: %w", err)
	}
	if err := os.Chdir(nowhere); err != nil {
		return fmt.Errorf("enter the folder to leave: %w", err)
	}
	if err := os.Remove(gate); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old gate: %w", err)
	}
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		return fmt.Errorf("make the gate: %w", err)
	}
	return nil
}

// openGate waits for the engine to arrive at the gate, removes the folder and lets it pass.
func openGate(dataDir string) error {
	gate, err := syscall.Open(filepath.Join(dataDir, gateFile), syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	if err := os.Remove(filepath.Join(dataDir, nowhereDir)); err != nil {
		return fmt.Errorf("remove the folder left: %w", err)
	}
	if err := os.Remove(filepath.Join(dataDir, gateFile)); err != nil {
		return fmt.Errorf("remove the gate: %w", err)
	}
	return syscall.Close(gate)
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
