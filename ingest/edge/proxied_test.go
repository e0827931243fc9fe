package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/keystone-cdp/keystone/internal/event"
)

// header is a PROXY header of version 1 or 2.
func header(t testing.TB, version byte, from, to string) string {
	t.Helper()
	src, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := net.ResolveTCPAddr("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	text, err := proxyproto.HeaderProxyFromAddrs(version, src, dst).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sized(more string) string {
	return fmt.Sprintf("POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n%sContent-Length: %d\r\n\r\n%s", trackerKey, more, len(page), page)
}

// A connection from a trusted balancer is whose its header says, for all of its requests.
func TestProxyProtocol(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) {
		c.ProxyProtocol, c.TrustedProxies = prefixes(t, "127.0.0.0/8"), prefixes(t, "192.0.2.0/24")
	}})
	const forwarded = "X-Forwarded-For: 198.51.100.66\r\n"
	want := []string{}
	for _, c := range []struct{ head, more, ip string }{
		{header(t, 1, "203.0.113.7:4000", "10.0.0.1:443"), "", "203.0.113.7"},
		{header(t, 2, "203.0.113.8:4000", "10.0.0.1:443"), "", "203.0.113.8"},
		{header(t, 1, "[2001:db8::7]:4000", "[2001:db8::1]:443"), "", "2001:db8::7"},
		{header(t, 2, "[2001:db8::8]:4000", "[2001:db8::1]:443"), "", "2001:db8::8"},
		// The header names a stranger: what that one says of itself in X-Forwarded-For is not believed.
		{header(t, 1, "203.0.113.9:4000", "10.0.0.1:443"), forwarded, "203.0.113.9"},
		// It names a trusted proxy, and that one says for whom it asks.
		{header(t, 2, "192.0.2.1:4000", "10.0.0.1:443"), forwarded, "198.51.100.66"},
		// The balancer speaks for itself, as for a check, or does not say for whom.
		{"PROXY UNKNOWN\r\n", "", "127.0.0.1"},
		{"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "", "127.0.0.1"},
		{"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "", ""},
	} {
		conn := r.dial()
		if _, err := io.WriteString(conn, c.head+sized(c.more)+sized(c.more)); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(conn)
		for range 2 {
			if a := response(t, br); a.status != 200 {
				t.Fatalf("%q: %d %s", c.head, a.status, a.body)
			}
			want = append(want, c.ip)
		}
	}
	for i, rec := range r.records(event.TopicEvents, len(want)) {
		if rec.meta.IP != want[i] {
			t.Errorf("record %d is from %q, want %q", i, rec.meta.IP, want[i])
		}
	}
}

// What is no PROXY header is no request either, where one is required.
func TestProxyProtocolIsRequired(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.ProxyProtocol, c.ReadTimeout = prefixes(t, "127.0.0.0/8"), 200*time.Millisecond }})
	for name, send := range map[string]string{
		"no header":      sized(""),
		"half of one":    "PROXY TCP4 203.0.113.7",
		"a broken one":   "PROXY TCP4 nobody 10.0.0.1 1 2\r\n" + sized(""),
		"an endless one": "PROXY TCP4 " + strings.Repeat("1", 4000),
		"nothing":        "",
	} {
		conn := r.dial()
		if _, err := io.WriteString(conn, send); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(conn) // a reset is an end as well
		if strings.HasPrefix(string(text), "HTTP/1.1 2") {
			t.Errorf("%s: %q", name, text)
		}
	}
	if n := r.metric("keystone_edge_received_events_total"); n != 0 {
		t.Errorf("%v events were read", n)
	}
}

// Who is not trusted cannot claim to be somebody else, by whatever header.
func TestSpoofedAddresses(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) {
		c.ProxyProtocol, c.TrustedProxies = prefixes(t, "10.0.0.0/8"), prefixes(t, "10.0.0.0/8")
	}})
	for _, head := range []string{header(t, 1, "203.0.113.7:4000", "10.0.0.1:443"), header(t, 2, "203.0.113.7:4000", "10.0.0.1:443")} {
		conn := r.dial()
		if _, err := io.WriteString(conn, head+sized("")); err != nil {
			t.Fatal(err)
		}
		if a := response(t, bufio.NewReader(conn)); a.status != 400 {
			t.Errorf("%q: %d", head, a.status)
		}
	}
	for _, more := range []string{"X-Forwarded-For: 203.0.113.7\r\n", "X-Real-IP: 203.0.113.7\r\n", "Forwarded: for=203.0.113.7\r\n",
		"X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n", "True-Client-IP: 203.0.113.7\r\n"} {
		conn := r.dial()
		if _, err := io.WriteString(conn, sized(more)); err != nil {
			t.Fatal(err)
		}
		if a := response(t, bufio.NewReader(conn)); a.status != 200 {
			t.Fatalf("%q: %d", more, a.status)
		}
	}
	for _, rec := range r.records(event.TopicEvents, 5) {
		if rec.meta.IP != "127.0.0.1" {
			t.Errorf("somebody passes for %s", rec.meta.IP)
		}
	}
}
