package edge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/valyala/fasthttp"
)

// wire is a connection whose client has sent everything already.
type wire struct {
	in  bytes.Reader
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error)      { return w.out.Write(p) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// FuzzWire: whatever bytes come over a connection, every answer is HTTP with a status of ours and a JSON
// object, and nothing panics.
func FuzzWire(f *testing.F) {
	for _, s := range []string{
		fmt.Sprintf("POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n%s", trackerKey, len(page), page),
		fmt.Sprintf("POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"batch\":[{\"type\":1}]\r\n0\r\n\r\n", basic(integrationKey)),
		"OPTIONS //ingest/ HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nAccess-Control-Request-Headers: a,b\r\n\r\nGET /sourceConfig/?writeKey=x HTTP/1.0\r\n\r\n",
		fmt.Sprintf("GET /v1/projects/%s/settings HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n", trackerKey),
		"GET /ingest/batch/6ba7b810-9dad-11d1-80b4-00c04fd430c8 HTTP/1.1\r\nHost: x\r\nX-API-Key: " + integrationKey + "\r\n\r\n",
		"POST /api/s/s2s/event HTTP/1.1\r\nHost: x\r\nX-Write-Key: a:" + integrationKey + "\r\nContent-Length: 2\r\nContent-Encoding: br\r\n\r\n{}",
		"POST /ingest/batch HTTP/1.1\r\nHost: x\r\nX-API-Key: " + integrationKey + "\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9\r\n\r\n{}\n7\n[]\n\n",
	} {
		f.Add([]byte(s))
	}
	s := bare(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		w := new(wire)
		w.in.Reset(data)
		_ = s.http.ServeConn(w) // its end, whatever it is, is the connection's
		if n := testutil.ToFloat64(s.metrics.panics); n != 0 {
			t.Fatalf("%q: a panic", data)
		}
		br := bufio.NewReader(&w.out)
		for {
			if _, err := br.Peek(1); err != nil {
				return
			}
			head := bytes.HasPrefix(data, []byte("HEAD"))
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			if resp.StatusCode == http.StatusContinue {
				continue
			}
			if head || bytes.Contains(data, []byte("HEAD ")) {
				return // an answer to HEAD has no body, and which one that is net/http does not know
			}
			text, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !slices.Contains(statuses[:], resp.StatusCode) {
				t.Fatalf("%q: %d %v", data, resp.StatusCode, err)
			}
			if resp.Header.Get("Content-Type") == jsonType && !json.Valid(text) {
				t.Fatalf("%q: %q", data, text)
			}
		}
	})
}

// FuzzRoute: slashes and case make no difference to what a path stands for.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{"/ingest", "/api/tenant/ingest/batch", "/v1/t", "/v1/projects/k/settings", "/api/s/s2s/event", "/ingest/batch/7", "//", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		want, found := findRoute(path)
		upper := bytes.Map(func(c rune) rune {
			if 'a' <= c && c <= 'z' {
				c += 'A' - 'a'
			}
			return c
		}, path)
		for _, other := range [][]byte{append(bytes.Clone(path), '/'), append([]byte("/"), path...), bytes.ReplaceAll(path, []byte("/"), []byte("//")), upper} {
			if len(other) > maxPath || len(path) > maxPath {
				continue
			}
			if got, ok := findRoute(other); ok != found || got.endpoint != want.endpoint || got.typ != want.typ || got.list != want.list {
				t.Fatalf("%q is %v, %q is %v", path, want, other, got)
			}
		}
	})
}

// FuzzForwarded: the address is the connection's, or one that stands in the header behind trusted ones
// only; never one that a stranger has put left of himself.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "198.51.100.1, 203.0.113.7, 10.1.2.3", "junk, 10.1.2.3", "::1,2001:db8::1", ",,", "10.0.0.1,10.0.0.2"} {
		f.Add(s, "")
	}
	trusted := prefixes(f, "127.0.0.0/8", "10.0.0.0/8")
	s := bare(f)
	s.cfg.TrustedProxies = trusted
	f.Fuzz(func(t *testing.T, first, second string) {
		if strings.ContainsAny(first+second, "\r\n\x00") {
			return
		}
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
		ctx.Request.Header.Add("X-Forwarded-For", first)
		ctx.Request.Header.Add("X-Forwarded-For", second)
		want := netip.MustParseAddr("127.0.0.1")
		hops := append(strings.Split(first, ","), strings.Split(second, ",")...)
		if second == "" {
			hops = strings.Split(first, ",")
		}
		for i := len(hops) - 1; i >= 0 && contains(trusted, want); i-- {
			a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break
			}
			want = a.Unmap().WithZone("")
		}
		if got := s.clientAddress(&ctx); got != want {
			t.Fatalf("%q, %q: %s, want %s", first, second, got, want)
		}
	})
}
