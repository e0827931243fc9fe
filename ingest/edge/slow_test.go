package edge

import (
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a slow connection may hold: its read buffer (Config.HeaderBytes), the stacks and structs of its
// request, and what it has sent of its body so far, which grows in steps.
const (
	slowConnections = 1000
	slowMemory      = 32 << 10 // bytes each, beyond what it has sent
	slowGrowth      = 4 << 20  // bytes of all, over rounds in which each sends a little more
)

// inUse is the memory that is held after a collection.
func inUse() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// unread is how many bytes wait in the server's sockets: they have arrived and nobody has read them.
func (r *rig) unread(from map[string]bool) (n int) {
	r.t.Helper()
	l := r.s.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if !from[c.RemoteAddr().String()] {
			continue
		}
		raw, err := c.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			r.t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			waiting, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			if err != nil {
				r.t.Error(err)
			}
			n += waiting
		}); err != nil {
			r.t.Error(err)
		}
	}
	return n
}

// TestSlowConnectionsHoldLittle keeps 1 000 clients at it that never finish: half of the headers, a
// byte now and then of an event, of a batch and of a compressed one, and answers that nobody reads.
// What they hold is bounded, does not grow while they go on, and is given back when they leave.
func TestSlowConnectionsHoldLittle(t *testing.T) {
	skipUnderRace(t)
	r := newRig(t, options{edge: func(c *Config) { c.ReadTimeout, c.BatchTimeout, c.WriteTimeout = time.Minute, time.Minute, time.Minute }})
	r.post("/ingest", trackerKey, jsonType, page) // what is made once
	r.post("/ingest/batch", integrationKey, jsonType, "["+page+"]")
	left := func() {
		t.Helper()
		r.client.CloseIdleConnections()
		for deadline := time.Now().Add(patience); r.s.listener.open() > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are left", r.s.listener.open())
			}
		}
	}
	left()
	idle := inUse()

	head := func(path, key, more string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n%sContent-Length: 800000\r\n\r\n", path, key, more)
	}
	kinds := []struct{ first, drip string }{
		{"POST /ingest HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
		{head("/ingest", trackerKey, ""), " "},
		{head("/ingest/batch", integrationKey, "Content-Type: application/x-ndjson\r\n"), page + "\n"},
		{head("/ingest/batch", integrationKey, "Content-Encoding: gzip\r\n") + string(zip(t, page))[:20], "\x00"},
		{strings.Repeat("GET /v1/js/tracker.js HTTP/1.1\r\nHost: x\r\n\r\n", 40), "\r\n"},
	}
	readers := len(kinds) - 1 // the kind that is not read from while it is written to
	var conns []net.Conn
	written := map[string]bool{}
	sent := 0
	for i := range slowConnections {
		c := r.dial()
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		if kind := i % len(kinds); kind == readers {
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		} else {
			written[c.LocalAddr().String()] = true
		}
		conns = append(conns, c)
	}
	round := func(text func(kind int) string) {
		t.Helper()
		for i, c := range conns {
			n, err := c.Write([]byte(text(i % len(kinds))))
			if err != nil {
				t.Fatal(err)
			}
			sent += n
		}
		for deadline := time.Now().Add(patience); ; runtime.Gosched() {
			if r.s.listener.open() == slowConnections && r.unread(written) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d connections, %d bytes are not read", r.s.listener.open(), r.unread(written))
			}
		}
	}
	round(func(kind int) string { return kinds[kind].first })
	first := inUse()
	for range 20 {
		round(func(kind int) string { return kinds[kind].drip })
	}
	last := inUse()
	t.Logf("idle %d KiB; 1 000 slow connections hold %d KiB more, after 20 rounds %d KiB more (%d KiB were sent)",
		idle>>10, (first-idle)>>10, (last-idle)>>10, sent>>10)
	if held := last - idle - int64(sent); held > slowConnections*slowMemory {
		t.Errorf("each holds %d bytes beyond what it has sent, promised %d", held/slowConnections, slowMemory)
	}
	if last-first > slowGrowth {
		t.Errorf("they hold %d KiB more than in the beginning", (last-first)>>10)
	}
	if a := r.post("/ingest/batch", integrationKey, jsonType, string(zip(t, "["+page+"]")), "Content-Encoding", "gzip"); a.status != 202 {
		t.Errorf("a good client beside them: %d %s", a.status, a.body)
	}

	for _, c := range conns {
		_ = c.Close()
	}
	left()
	if after := inUse(); after-idle > slowConnections*slowMemory/2 {
		t.Errorf("%d KiB are held after they have gone", (after-idle)>>10)
	}
}
