package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/keystone-cdp/keystone/internal/event"
)

// statusesOf are the answers on a connection until the server closes it, or until n have come.
func statusesOf(t testing.TB, conn net.Conn, n int) (out []int) {
	t.Helper()
	br := bufio.NewReader(conn)
	for len(out) < n {
		if _, err := br.Peek(1); err != nil {
			return out
		}
		out = append(out, response(t, br).status)
	}
	return out
}

// Where two servers may disagree about where a request ends, the second one is not answered: either
// there is one reading only, or the connection ends with the first answer. The smuggled request asks for
// a path that has an answer of its own (404).
func TestSmuggling(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.IdleTimeout = 300 * time.Millisecond }})
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	head := "POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: " + trackerKey + "\r\n"
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(page), page)
	for name, c := range map[string]struct {
		send string
		want []int
	}{
		"length before chunks":           {head + length(len(chunk)) + "Transfer-Encoding: chunked\r\n\r\n" + chunk + smuggled, []int{400}},
		"chunks before length":           {head + "Transfer-Encoding: chunked\r\n" + length(4) + "\r\n" + chunk + smuggled, []int{400}},
		"two equal lengths":              {head + length(len(page)) + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"two lengths":                    {head + length(len(page)) + length(len(page)+len(smuggled)) + "\r\n" + page + smuggled, []int{400}},
		"a list of lengths":              {head + fmt.Sprintf("Content-Length: %d, %d\r\n\r\n", len(page), len(page)) + page + smuggled, []int{400}},
		"a signed length":                {head + fmt.Sprintf("Content-Length: +%d\r\n\r\n", len(page)) + page + smuggled, []int{400}},
		"a hexadecimal length":           {head + fmt.Sprintf("Content-Length: 0x%x\r\n\r\n", len(page)) + page + smuggled, []int{400}},
		"an endless length":              {head + "Content-Length: 99999999999999999999999\r\n\r\n" + page + smuggled, []int{400}},
		"an empty length":                {head + "Content-Length: \r\n\r\n" + smuggled, []int{400}},
		"a length with a space":          {head + fmt.Sprintf("Content-Length : %d\r\n\r\n", len(page)) + page + smuggled, []int{400}},
		"another encoding":               {head + "Transfer-Encoding: gzip\r\n\r\n" + chunk + smuggled, []int{400}},
		"an encoding nobody knows":       {head + "Transfer-Encoding: xchunked\r\n\r\n" + chunk + smuggled, []int{400}},
		"two encodings":                  {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunk + smuggled, []int{400}},
		"chunked twice":                  {head + "Transfer-Encoding: chunked, chunked\r\n\r\n" + chunk + smuggled, []int{400}},
		"a folded encoding":              {head + "Transfer-Encoding:\r\n chunked\r\n" + length(4) + "\r\n" + chunk + smuggled, []int{400}},
		"a vertical tab in the encoding": {head + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunk + smuggled, []int{400}},
		"a chunk that is too long":       {head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n" + page + smuggled, []int{400}},
		"a signed chunk":                 {head + "Transfer-Encoding: chunked\r\n\r\n+5\r\n" + page + smuggled, []int{400}},
		"a chunk that does not end":      {head + "Transfer-Encoding: chunked\r\n\r\n5\r\n" + page + "\r\n0\r\n\r\n" + smuggled, []int{400}},
		"chunks in HTTP/1.0":             {strings.Replace(head, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n" + chunk + smuggled, []int{400}},
		"NUL in a header":                {head + "X-A: a\x00b\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"CR in a header":                 {head + "X-A: a\rTransfer-Encoding: chunked\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"no colon":                       {head + "X-A\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"an empty name":                  {head + ": a\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"two hosts":                      {head + "Host: y\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},
		"a folded first line":            {"POST /ingest HTTP/1.1\r\n X-A: b\r\nHost: x\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{400}},

		// One reading only: these are taken as they are meant, and what follows is a request.
		"a folded header":        {head + "X-A: b\r\n c\r\n" + length(len(page)) + "\r\n" + page + smuggled, []int{200, 404}},
		"bare line feeds":        {strings.ReplaceAll(head+length(len(page))+"\r\n", "\r\n", "\n") + page + smuggled, []int{200, 404}},
		"a chunk extension":      {head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x;a=b\r\n%s\r\n0\r\n\r\n", len(page), page) + smuggled, []int{200, 404}},
		"a trailer":              {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimSuffix(chunk, "\r\n") + "X-A: b\r\n\r\n" + smuggled, []int{200, 404}},
		"a body where none is":   {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + length(len(smuggled)) + "\r\n" + smuggled, []int{404}},
		"another case of chunks": {head + "Transfer-Encoding: Chunked\r\n\r\n" + chunk + smuggled, []int{200, 404}},
	} {
		conn := r.dial()
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		if got := statusesOf(t, conn, 3); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		_ = conn.Close()
	}
	if n := r.metric("keystone_edge_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
	r.conserved()
}

// A client that sends a byte now and then, each before any timeout of its own, is let go when the time
// for the whole request is over: in the headers, in the body, in a chunk.
func TestSlowloris(t *testing.T) {
	const within = 300 * time.Millisecond
	r := newRig(t, options{edge: func(c *Config) { c.ReadTimeout, c.BatchTimeout = within, within }})
	head := "POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: " + trackerKey + "\r\n"
	for name, c := range map[string]struct{ first, drip string }{
		"headers": {head, "X-A: b\r\n"},
		"body":    {head + "Content-Length: 100000\r\n\r\n", " "},
		"chunks":  {head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"},
		"nothing": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial()
			begin := time.Now()
			if _, err := io.WriteString(conn, c.first); err != nil {
				t.Fatal(err)
			}
			gone := make(chan string, 1)
			go func() {
				text, _ := io.ReadAll(conn)
				gone <- string(text)
			}()
			for tick := time.NewTicker(within / 20); ; {
				select {
				case text := <-gone:
					tick.Stop()
					// A drip that arrives after the end resets the connection, and may take the answer along.
					if c.first != "" && text != "" && !strings.HasPrefix(text, "HTTP/1.1 408 ") {
						t.Errorf("%q", text)
					}
					if took := time.Since(begin); took > 10*within {
						t.Errorf("held for %s", took)
					}
					return
				case <-tick.C:
					_, _ = io.WriteString(conn, c.drip) // it may be gone by now
				}
			}
		})
	}
}

// Many headers, long ones, and endless ones end at one limit, and cost no more than it.
func TestHeaderFloods(t *testing.T) {
	r := newRig(t, options{})
	for name, send := range map[string]string{
		"many small":       strings.Repeat("A:b\r\n", 100_000),
		"one large":        "X-A: " + strings.Repeat("a", 1<<20) + "\r\n",
		"one that folds":   "X-A: b\r\n" + strings.Repeat(" c\r\n", 100_000),
		"a large name":     strings.Repeat("a", 1<<20) + ": b\r\n",
		"the same cookies": strings.Repeat("Cookie: a=b\r\n", 50_000),
	} {
		conn := r.dial()
		go func() { _, _ = io.WriteString(conn, "POST /ingest HTTP/1.1\r\nHost: x\r\n"+send+"\r\n") }() // until it is reset
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			continue // reset before the answer was read: the client was still sending
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 431 || !resp.Close {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	if n := r.metric("keystone_edge_received_events_total"); n != 0 {
		t.Errorf("%v events were read", n)
	}
}

// Small bodies that grow without end are told where the limit is, and cost no more than it.
func TestBombs(t *testing.T) {
	r := newRig(t, options{})
	const size = 256 << 20
	zeros := io.LimitReader(zeroes{}, size)
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	deflated := zip(t, strings.Repeat(" ", 64<<20))
	nested := zip(t, string(zip(t, "["+page+"]")))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, c := range map[string]struct {
		body     []byte
		encoding string
		status   int
		code     string
	}{
		"zstd":                 {packed.Bytes(), "zstd", 413, event.CodeTooLarge},
		"gzip":                 {deflated, "gzip", 413, event.CodeTooLarge},
		"gzip in gzip is text": {nested, "gzip", 400, event.CodeInvalidJSON},
		"two encodings":        {nested, "gzip, gzip", 415, codeUnsupported},
		"brackets":             {zip(t, strings.Repeat("[", 16<<20)), "gzip", 400, event.CodeInvalidJSON},
		"objects":              {zip(t, `{"events":[`+strings.Repeat(`{"a":`, 4<<20)), "gzip", 400, event.CodeInvalidJSON},
		"a million events":     {zip(t, "["+strings.Repeat("1,", 1_000_000)+"1]"), "gzip", 413, event.CodeTooLarge},
	} {
		a := r.post("/ingest/batch", integrationKey, jsonType, string(c.body), "Content-Encoding", c.encoding)
		if code, _ := a.failure(t); a.status != c.status || code != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, c.status, c.code)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("%d MiB stay in use", grown>>20)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }
