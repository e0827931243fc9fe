package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrFolderInUse says that another process works on the data folder.
var ErrFolderInUse = errors.New("in use by another process")

const lockName = "keystone.lock"

// FolderLock is an exclusive claim on a data folder. The kernel drops it when
// the process dies, however it dies.
type FolderLock struct{ file *os.File }

// LockFolder claims the folder for this process, before anything in it is
// written. It does not wait: a claimed folder is an ErrFolderInUse, with the
// process id of its owner.
func LockFolder(dir string) (*FolderLock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
		}
		owner, _ := os.ReadFile(path)
		return nil, fmt.Errorf("data folder %s is %w (pid %s)", dir, ErrFolderInUse, strings.TrimSpace(string(owner)))
	}
	// For the reader of the error above only: the lock is the flock itself.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &FolderLock{file: file}, nil
}

// Release gives the folder free. The file stays: removing it would let two
// processes hold locks on two files of the same name.
func (l *FolderLock) Release() {
	if l != nil && l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
