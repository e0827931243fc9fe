package statestore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	placeFile = "place"
	// reachable is the mode of a folder others may pass but not list.
	reachable = 0o711
)

// placeBases are where the data go when the unprivileged account cannot reach
// the data folder, in order of preference. /var/tmp may be swept by the system.
var placeBases = []string{"/var/lib", "/var/tmp"}

// account is who the database runs as.
type account struct {
	uid, gid uint32
	name     string
	other    bool // another account than this process's
}

// childAccount is this process's own account. Under uid 0 it is the owner of
// the data there are, or an unprivileged account; that one must have a name, as
// initdb refuses a bare number.
func childAccount(dataDir string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	if info, err := os.Stat(dataDir); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return account{uid: st.Uid, gid: st.Gid, name: "uid " + strconv.Itoa(int(st.Uid)), other: true}, nil
		}
	}
	for _, name := range []string{"nobody", "postgres"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return account{uid: uint32(uid), gid: uint32(gid), name: name, other: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and this machine has neither the account nobody nor postgres")
}

// credential is nil for our own account.
func (a account) credential() *syscall.Credential {
	if !a.other {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own hands a file or folder to the account; never what a link leads to, as the
// account may have put one there.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// makeDataDir creates the folder and those above it. Under root they can be
// passed by others, so that an unprivileged server reaches its files; what is
// in them has modes of its own.
func makeDataDir(dir string) error {
	if os.Geteuid() != 0 {
		return os.MkdirAll(dir, 0o700)
	}
	if err := os.MkdirAll(dir, reachable); err != nil {
		return err
	}
	return os.Chmod(dir, reachable) // the umask may have taken it
}

// choosePlace is the folder for the server's files and the account to run it:
// dataDir when the account can reach it, else a folder made for it and noted in
// dataDir.
func choosePlace(dataDir string, log *slog.Logger) (string, account, error) {
	place, noted := dataDir, false
	if note, err := os.ReadFile(filepath.Join(dataDir, placeFile)); err == nil {
		place, noted = strings.TrimSpace(string(note)), true
		if err := checkPlace(place, dataDir); err != nil {
			return "", account{}, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", account{}, fmt.Errorf("read place of the data: %w", err)
	}
	a, err := childAccount(filepath.Join(place, pgdata))
	if err != nil || noted || !a.other {
		return place, a, err
	}
	barrier, err := unreachable(dataDir, a)
	if err != nil || barrier == "" {
		return place, a, err
	}
	if place, err = makePlace(); err != nil {
		return "", account{}, err
	}
	if err := embedded.WriteFile(filepath.Join(dataDir, placeFile), []byte(place+"\n")); err != nil {
		return "", account{}, fmt.Errorf("note place of the data: %w", err)
	}
	log.Warn("data folder cannot be reached by the state store's account, its data are elsewhere",
		"account", a.name, "barrier", barrier, "place", place)
	return place, a, nil
}

// checkPlace accepts a noted folder only as we made it.
func checkPlace(place, dataDir string) error {
	info, err := os.Lstat(place)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the state store's data in %s are gone; delete %s to start anew", place, dataDir)
	}
	if err != nil {
		return fmt.Errorf("look at place of the data: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a folder of this account", place)
	}
	return nil
}

// makePlace makes a folder of our own with a random name.
func makePlace() (string, error) {
	var errs []error
	for _, base := range placeBases {
		base = filepath.Join(base, "keystone-dev")
		err := os.MkdirAll(base, reachable)
		if err == nil {
			err = checkPlace(base, base)
		}
		var place string
		if err == nil {
			place, err = os.MkdirTemp(base, "statestore-")
		}
		if err == nil {
			err = errors.Join(os.Chmod(base, reachable), os.Chmod(place, reachable))
		}
		if err == nil {
			return place, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("make a place for the state store's data: %w", errors.Join(errs...))
}

// unreachable is the first folder on the way to path, or path itself, that the
// account may not pass; "" when it may pass them all.
func unreachable(path string, a account) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("resolve path: %w", err)
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return "", fmt.Errorf("look at path: %w", err)
		}
		if !mayPass(info, a) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", nil
		}
	}
}

// mayPass reads the mode's execute bit that applies to the account.
func mayPass(info os.FileInfo, a account) bool {
	mode := info.Mode().Perm()
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && st.Uid == a.uid:
		return mode&0o100 != 0
	case ok && st.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
