package main

import (
	endian "encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A dev that is started again between two readings has other ports: what was asked would be half of each.
func TestLagReadsDevInfoOnce(t *testing.T) {
	dir := t.TempDir()
	if err := writeDevInfo(dir, &devInfo{Pid: os.Getpid(), AdminURL: "http://127.0.0.1:1", Brokers: []string{"127.0.0.1:1"},
		SQLDSN: "postgres://127.0.0.1:1/x?sslmode=disable", ClickHouseDSN: "clickhouse://127.0.0.1:1/x"}); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, filepath.Join(dir, devInfoFile), unix.IN_OPEN|unix.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	if out, err := runCLI(t, "lag", "--data-dir", dir); err == nil {
		t.Fatalf("without a server: %q", out)
	}
	events := make([]byte, 4096)
	n, err := unix.Read(watch, events)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for at := 0; at < n; at += unix.SizeofInotifyEvent + int(endian.NativeEndian.Uint32(events[at+12:])) {
		if endian.NativeEndian.Uint32(events[at+4:])&unix.IN_OPEN != 0 {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("dev.json was read %d times", opened)
	}
}
