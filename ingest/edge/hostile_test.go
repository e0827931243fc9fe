package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/internal/event"
)

// dial opens a connection of its own.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// response reads one answer from a connection.
func response(t testing.TB, br *bufio.Reader) *answer {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return &answer{resp.StatusCode, resp.Header, text, resp.Close}
}

func closed(t testing.TB, br *bufio.Reader) bool {
	t.Helper()
	_, err := br.ReadByte()
	return err != nil
}

// Raw bytes on the wire and what comes back.
func TestWire(t *testing.T) {
	r := newRig(t, options{})
	hasty := newRig(t, options{edge: func(c *Config) { c.ReadTimeout, c.BatchTimeout = 300*time.Millisecond, 300*time.Millisecond }})
	head := "POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: " + trackerKey + "\r\n"
	sized := fmt.Sprintf("%sContent-Length: %d\r\n", head, len(page))
	for name, c := range map[string]struct {
		send   string
		status int
		code   string
		open   bool // the connection goes on
	}{
		"keep-alive":                        {sized + "\r\n" + page, 200, "", true},
		"chunked":                           {head + "Transfer-Encoding: chunked\r\n\r\n5\r\n" + page[:5] + "\r\n" + fmt.Sprintf("%x\r\n", len(page)-5) + page[5:] + "\r\n0\r\n\r\n", 200, "", true},
		"HTTP/1.0":                          {strings.Replace(sized, "1.1", "1.0", 1) + "\r\n" + page, 200, "", false},
		"expect":                            {sized + "Expect: 100-continue\r\n\r\n" + page, 100, "", true},
		"slow headers":                      {head, 408, "request_timeout", false},
		"slow body":                         {sized + "\r\n" + page[:10], 408, "request_timeout", false},
		"slow large body":                   {head + "Content-Length: 500000\r\n\r\n" + strings.Repeat(" ", 20_000), 408, "request_timeout", false},
		"slow chunks":                       {head + "Transfer-Encoding: chunked\r\n\r\n5\r\n" + page[:5], 408, "request_timeout", false},
		"header flood":                      {head + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 20), 431, "headers_too_large", false},
		"endless request line":              {"GET /" + strings.Repeat("a", 20_000), 431, "headers_too_large", false},
		"no HTTP":                           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request", false},
		"broken chunks":                     {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request", false},
		"negative length":                   {head + "Content-Length: -5\r\n\r\n", 400, "bad_request", false},
		"two lengths":                       {sized + "Content-Length: 5\r\n\r\n" + page, 400, "bad_request", false},
		"length and chunks":                 {sized + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request", false},
		"a space before the colon":          {sized + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad_request", false},
		"a folded header":                   {sized + "X-A: b\r\n c\r\n\r\n" + page, 200, "", true},
		"a refused body is read to its end": {strings.Replace(sized, trackerKey, "nobody", 1) + "\r\n" + page, 401, "unknown_key", true},
	} {
		t.Run(name, func(t *testing.T) {
			on := r
			if c.status == 408 {
				on = hasty
			}
			conn := on.dial()
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(conn)
			a := response(t, br)
			if a.status == 100 && c.status == 100 {
				a = response(t, br)
				a.status -= 100
			}
			if a.status != c.status {
				t.Fatalf("%d %s, want %d", a.status, a.body, c.status)
			}
			if c.code != "" {
				if code, _ := a.failure(t); code != c.code || a.header.Get("X-Request-Id") == "" {
					t.Errorf("%s %v", code, a.header)
				}
			}
			if !c.open {
				if !closed(t, br) {
					t.Error("the connection goes on")
				}
				return
			}
			if _, err := io.WriteString(conn, sized+"\r\n"+page); err != nil {
				t.Fatal(err)
			}
			if a := response(t, br); a.status != 200 {
				t.Errorf("the next request on the connection: %d %s", a.status, a.body)
			}
		})
	}
	r.conserved()
	hasty.conserved()
}

func TestPipelining(t *testing.T) {
	r := newRig(t, options{})
	conn := r.dial()
	one := func(id string) string {
		return fmt.Sprintf("POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n%s", trackerKey, len(ev(id)), ev(id))
	}
	if _, err := io.WriteString(conn, one("a")+one("b")+one("c")); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	for _, id := range []string{"a", "b", "c"} {
		if a := response(t, br); a.status != 200 || a.json(t)["message_id"] != id {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for i, rec := range r.records(event.TopicEvents, 3) {
		if rec.messageID() != string(rune('a'+i)) {
			t.Errorf("record %d is %s", i, rec.messageID())
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.MaxConns = 2 }})
	for range 2 {
		conn := r.dial()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response(t, bufio.NewReader(conn))
	}
	br := bufio.NewReader(r.dial())
	a := response(t, br)
	if code, _ := a.failure(t); a.status != 503 || code != "unavailable" || a.header.Get("Retry-After") == "" || !closed(t, br) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestPayloadsStayOutOfTheLog(t *testing.T) {
	lines := new(syncBuffer)
	r := newRig(t, options{log: lines})
	const secret = "very-private"
	for _, body := range []string{`{"anonymous_id":"` + secret + `"}`, `{"` + secret, `{"anonymous_id":"a","event_type":"page","payload":"` + secret + `"}`,
		`{"event_type":"` + secret + `"}`} {
		if a := r.post("/ingest", trackerKey, jsonType, body); a.status != 400 || strings.Contains(string(a.body), secret) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	r.post("/ingest", secret, jsonType, page)
	if strings.Contains(lines.String(), secret) || strings.Contains(lines.String(), trackerKey) {
		t.Errorf("in the log: %s", lines)
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type panicking struct{}

func (panicking) Lookup([]byte) (*key.Grant, error) { panic("a bug, with private things in it") }

func TestPanicIsAnswered(t *testing.T) {
	lines := new(syncBuffer)
	r := newRig(t, options{log: lines})
	keys := r.s.deps.Keys
	r.s.deps.Keys = panicking{}
	a := r.post("/ingest", trackerKey, jsonType, page)
	if code, _ := a.failure(t); a.status != 503 || code != "unavailable" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if log := lines.String(); !strings.Contains(log, "bug") || strings.Contains(log, "private") {
		t.Errorf("%s", log)
	}
	r.s.deps.Keys = keys
	if a := r.post("/ingest", trackerKey, jsonType, page); a.status != 200 {
		t.Errorf("after it: %d", a.status)
	}
}

// Stop lets the requests under way finish.
func TestStopDrains(t *testing.T) {
	r := newRig(t, options{})
	under, release := make(chan struct{}), make(chan struct{})
	r.s.deps.Live = &scripted{outcome: func(_ int, records []*kgo.Record) produce.Outcome {
		close(under)
		<-release
		return produce.Outcome{Logged: records}
	}}
	answers := make(chan *answer, 1)
	go func() { answers <- r.post("/ingest", trackerKey, jsonType, page) }()
	<-under
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- r.s.Stop(ctx)
	}()
	until(t, "it is not ready", func() bool { return r.s.Ready() != nil })
	until(t, "no connection is accepted", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(release)
	if a := <-answers; a.status != 200 || !a.closes {
		t.Errorf("the request under way: %d %v", a.status, a.header)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Stop does not wait for ever for those that never finish.
func TestStopGivesUp(t *testing.T) {
	r := newRig(t, options{})
	conn := r.dial()
	if _, err := fmt.Fprintf(conn, "POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: 100\r\n\r\n{", trackerKey); err != nil {
		t.Fatal(err)
	}
	until(t, "it is open", func() bool { return r.s.listener.open() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_ = r.s.Stop(ctx)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if n := r.s.listener.open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}
