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
	slowMemory      = 64 << 10 // bytes each, beyond what it has sent; the client's own end is in this process too
	slowGrowth      = 4 << 20  // bytes of all, over rounds in which each sends a little more, and over waves of them
)

// inUse is the memory that is held after a collection.
func inUse() int64 {
	runtime.GC() // what pools hold lives through one collection
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
// What they hold is bounded, does not grow while they go on, and is no more when they have left and as
// many others have come.
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
	kinds := []slowKind{
		{"POST /ingest HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
		{head("/ingest", trackerKey, ""), " "},
		{head("/ingest/batch", integrationKey, "Content-Type: application/x-ndjson\r\n"), page + "\n"},
		{head("/ingest/batch", integrationKey, "Content-Encoding: gzip\r\n") + string(zip(t, page))[:20], "\x00"},
		{strings.Repeat("GET /v1/js/tracker.js HTTP/1.1\r\nHost: x\r\n\r\n", 40), "\r\n"},
	}
	wave := func() int64 {
		t.Helper()
		held := r.slow(kinds, idle)
		left()
		return held
	}
	wave() // two fill the pools
	wave()
	once := wave()
	if again := wave(); again-once > slowGrowth {
		t.Errorf("the fourth 1 000 hold %d KiB, the third held %d", again>>10, once>>10)
	}
}

// slowKind is what a client sends first, and then again and again.
type slowKind struct{ first, drip string }

// slow has 1 000 clients come, go on for a while and leave, and answers what they held.
func (r *rig) slow(kinds []slowKind, idle int64) int64 {
	r.t.Helper()
	readers := len(kinds) - 1 // the kind that is not read from while it is written to
	var conns []net.Conn
	written := map[string]bool{}
	sent := 0
	for i := range slowConnections {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			r.t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // closed below, unless the test fails
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		if kind := i % len(kinds); kind == readers {
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		} else {
			written[c.LocalAddr().String()] = true
		}
		conns = append(conns, c)
	}
	round := func(text func(kind int) string) {
		r.t.Helper()
		for i, c := range conns {
			n, err := c.Write([]byte(text(i % len(kinds))))
			if err != nil {
				r.t.Fatal(err)
			}
			sent += n
		}
		for deadline := time.Now().Add(patience); ; runtime.Gosched() {
			if r.s.listener.open() == slowConnections && r.unread(written) == 0 {
				return
			}
			if time.Now().After(deadline) {
				r.t.Fatalf("%d connections, %d bytes are not read", r.s.listener.open(), r.unread(written))
			}
		}
	}
	round(func(kind int) string { return kinds[kind].first })
	first := inUse()
	for range 20 {
		round(func(kind int) string { return kinds[kind].drip })
	}
	last := inUse()
	r.t.Logf("idle %d KiB; 1 000 slow connections hold %d KiB more, after 20 rounds %d KiB more (%d KiB were sent)",
		idle>>10, (first-idle)>>10, (last-idle)>>10, sent>>10)
	if held := last - idle - int64(sent); held > slowConnections*slowMemory {
		r.t.Errorf("each holds %d bytes beyond what it has sent, promised %d", held/slowConnections, slowMemory)
	}
	if last-first > slowGrowth {
		r.t.Errorf("they hold %d KiB more than in the beginning", (last-first)>>10)
	}
	if a := r.post("/ingest/batch", integrationKey, jsonType, string(zip(r.t, "["+page+"]")), "Content-Encoding", "gzip"); a.status != 202 {
		r.t.Errorf("a good client beside them: %d %s", a.status, a.body)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	return last - idle
}
