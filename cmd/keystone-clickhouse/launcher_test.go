package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFlagsAreRequiredAndFilledIn(t *testing.T) {
	if _, err := parseFlags(nil); err == nil {
		t.Error("no flags are enough")
	}
	opt, err := parseFlags([]string{"--lib", "/l.so", "--data-dir", "/d", "--config-file", "/c.xml", "--http-port", "1"})
	if err != nil {
		t.Fatal(err)
	}
	if opt.portsFile != "/d/ports.tsv" || opt.verifiedFile != "/d/lib.verified" || opt.httpPort != 1 || opt.tcpPort != 0 {
		t.Errorf("%+v", opt)
	}
}

func TestEngineIsInteractiveOnLoopback(t *testing.T) {
	args := engineArgs(options{dataDir: "/d", configFile: "/c.xml", portsFile: `/d/it's \here`, httpPort: 12})
	for _, want := range []string{
		"--interactive", "--listen_host", "127.0.0.1", "--config-file=/c.xml", "--log-level=error",
		"--history_file=/d/history", "--path=/d",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is not among %q", want, args)
		}
	}
	if query := args[len(args)-1]; !strings.Contains(query, `INTO OUTFILE '/d/it\'s \\here'`) {
		t.Errorf("query %q", query)
	}
}

func TestSystemDatabaseIsDeclaredOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metadata", "system.sql")
	var first []byte
	for i := range 2 {
		if err := writeSystemDatabase(dir); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = text
		}
		if !bytes.Equal(text, first) {
			t.Error("the second start declares another database")
		}
	}
	if !regexp.MustCompile(`^ATTACH DATABASE _ UUID '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}' ENGINE = Atomic\n$`).Match(first) {
		t.Errorf("%q", first)
	}
}

func TestOtherLibraryIsRefused(t *testing.T) {
	dir := t.TempDir()
	lib, verified := filepath.Join(dir, "libchdb.so"), filepath.Join(dir, "lib.verified")
	if err := os.WriteFile(lib, []byte("not the engine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := verifyLib(lib, verified)
	if err == nil || !strings.Contains(err.Error(), "--any-lib") {
		t.Errorf("%v, want it refused and the way out named", err)
	}
	if _, err := os.Stat(verified); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused library is remembered as good")
	}
	// A note for another file does not count.
	if err := os.WriteFile(verified, []byte(libSHA256+" size=1 mtime=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyLib(lib, verified); err == nil {
		t.Error("a note for another file is believed")
	}
	info, err := os.Stat(lib)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(verified, []byte(libSHA256+" "+fileIdentity(info)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyLib(lib, verified); err != nil {
		t.Errorf("the note for this very file is not believed: %v", err)
	}
}

func TestLockedFolderIsSeen(t *testing.T) {
	dir := t.TempDir()
	if err := checkFolderFree(dir); err != nil {
		t.Errorf("new folder: %v", err)
	}
	f, err := os.Create(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := checkFolderFree(dir); err != nil {
		t.Errorf("left folder: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := checkFolderFree(dir); !errors.Is(err, errFolderLocked) {
		t.Errorf("locked folder: %v", err)
	}
}

func TestLeaveTypesExitOnceAndKillsAnEngineThatStays(t *testing.T) {
	var prompt bytes.Buffer
	l := newLeaver(&prompt)
	killed := make(chan struct{}, 2)
	hungUp := make(chan struct{}, 2)
	l.kill, l.hangUp = func() { killed <- struct{}{} }, func() { hungUp <- struct{}{} }
	if l.asked() {
		t.Error("asked before")
	}
	l.leave(time.Hour)
	l.leave(time.Millisecond) // the parent died meanwhile: a shorter wait
	if prompt.String() != "exit\n" || !l.asked() {
		t.Errorf("typed %q", prompt.String())
	}
	<-killed
	<-hungUp
	if len(hungUp) > 0 {
		t.Error("hung up twice")
	}
}

func TestOnlyConnectionsAreHungUp(t *testing.T) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.DialTCP("tcp4", nil, listener.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	local, remote, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	defer remote.Close()
	for name, x := range map[string]struct {
		of   syscall.Conn
		want bool
	}{"listener": {listener, false}, "connection": {client, true}, "pipe": {local, false}} {
		raw, err := x.of.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if got := connected(int(fd)); got != x.want {
				t.Errorf("%s: %v", name, got)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}
