package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// libSHA256 is the libchdb.so of npm's @chdb/lib-linux-x64-gnu 26.7.3-stable.1.
// A new version means: new sum here, and the hostile-bytes test must pass.
const libSHA256 = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"

// verifyLib checks that the library is the one this release was tested with.
// Hashing its 566 MB takes seconds, so success is remembered in verifiedFile
// for as long as the file's identity (device, inode, size, both times) stays
// the same. That guards against a wrong or damaged file, not against somebody
// who can write both files.
func verifyLib(lib, verifiedFile string) error {
	f, err := os.Open(lib)
	if err != nil {
		return fmt.Errorf("open library: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open library: %w", err)
	}
	want := libSHA256 + " " + fileIdentity(info) + "\n"
	if known, err := os.ReadFile(verifiedFile); err == nil && string(known) == want {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("hash library: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != libSHA256 {
		return fmt.Errorf("library %s has sha256 %s, this release wants %s (--any-lib accepts it all the same)", lib, got, libSHA256)
	}
	if err := embedded.WriteFile(verifiedFile, []byte(want)); err != nil {
		return fmt.Errorf("remember checked library: %w", err)
	}
	return nil
}

func fileIdentity(info os.FileInfo) string {
	id := fmt.Sprintf("size=%d mtime=%d", info.Size(), info.ModTime().UnixNano())
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id += fmt.Sprintf(" dev=%d ino=%d ctime=%d", st.Dev, st.Ino, st.Ctim.Nano())
	}
	return id
}
