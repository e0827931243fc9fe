package tracker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/valyala/fasthttp"
)

func get(t *testing.T, s *Script, headers ...string) *fasthttp.Response {
	t.Helper()
	var ctx fasthttp.RequestCtx
	for i := 0; i < len(headers); i += 2 {
		ctx.Request.Header.Set(headers[i], headers[i+1])
	}
	s.Serve(&ctx)
	return &ctx.Response
}

func TestServe(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "gzip, deflate, br": "br", "br;q=0, gzip": "gzip", "BR;q=0.5": "br", "identity": "", "gzip;q=0": "", "gzip;q=x": "",
	} {
		r := get(t, s, "Accept-Encoding", accept)
		if r.StatusCode() != 200 || string(r.Header.Peek("Content-Encoding")) != want {
			t.Errorf("%q: %d %s", accept, r.StatusCode(), r.Header.Peek("Content-Encoding"))
		}
		var body io.Reader = bytes.NewReader(r.Body())
		switch want {
		case "gzip":
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		case "br":
			body = brotli.NewReader(body)
		}
		if text, err := io.ReadAll(body); err != nil || !bytes.Equal(text, source) {
			t.Errorf("%q: %d bytes, %v", accept, len(text), err)
		}
		for name, value := range map[string]string{
			"Cache-Control": cacheControl, "Vary": "Accept-Encoding", "Access-Control-Allow-Origin": "*",
			"Content-Type": "text/javascript; charset=utf-8", "X-Content-Type-Options": "nosniff",
		} {
			if got := string(r.Header.Peek(name)); got != value {
				t.Errorf("%q: %s is %q", accept, name, got)
			}
		}
		etag := string(r.Header.Peek("Etag"))
		tags[etag] = true
		for _, match := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			if r := get(t, s, "Accept-Encoding", accept, "If-None-Match", match); r.StatusCode() != 304 || len(r.Body()) != 0 {
				t.Errorf("If-None-Match %s: %d", match, r.StatusCode())
			}
		}
		if r := get(t, s, "Accept-Encoding", accept, "If-None-Match", `"other"`); r.StatusCode() != 200 {
			t.Errorf("another tag: %d", r.StatusCode())
		}
	}
	if len(tags) != 3 {
		t.Errorf("the encodings share ETags: %v", tags)
	}
}

func TestIsSmall(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.brotli.body) > 6000 || len(s.gzip.body) > 6000 || len(s.brotli.body) >= len(s.gzip.body) {
		t.Errorf("%d bytes of gzip, %d of brotli", len(s.gzip.body), len(s.brotli.body))
	}
}

// The script at work on a page: what it sends is what the edge takes.
func TestOnAPage(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	out, err := exec.CommandContext(t.Context(), node, "testdata/page.js", "tracker.js").Output()
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	type sent struct {
		URL, Beacon string
		Headers     map[string]string
		Body        struct {
			MessageID   string `json:"message_id"`
			AnonymousID string `json:"anonymous_id"`
			Identity    string
			EventType   string `json:"event_type"`
			EventName   string `json:"event_name"`
			Payload     map[string]any
			SentAt      string `json:"sent_at"`
			Context     struct {
				Page map[string]string
			}
		}
		Results []bool
		Stored  []string
	}
	var calls []string
	var last sent
	ids := map[string]string{}
	for line := range strings.Lines(string(out)) {
		var s sent
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if s.Results != nil {
			last = s
			continue
		}
		b := s.Body
		what := fmt.Sprint(b.EventType, " ", b.EventName, " ", b.Identity)
		calls = append(calls, strings.TrimSpace(what))
		if id, ok := ids[what]; ok && id != b.MessageID {
			t.Errorf("%s came with another message id", what)
		}
		ids[what] = b.MessageID
		if b.MessageID == "" || b.AnonymousID == "" || b.SentAt == "" || b.Context.Page["url"] != "https://shop.example/cart?x=1" {
			t.Errorf("%s", line)
		}
		switch {
		case s.URL == "https://cdp.example/in/api/ingest" && s.Headers["X-API-Key"] == "ks_trk_test":
		case s.Beacon == "https://cdp.example/in/api/ingest?key=ks_trk_test":
		default:
			t.Errorf("sent to %s%s with %v", s.URL, s.Beacon, s.Headers)
		}
	}
	want := []string{"page", "page", "page", "track before load", // no connection, 503, taken; then in order
		"identify  ann@example.com", "track bad ann@example.com", "page Home ann@example.com", "track after reset", "track leaving"}
	if strings.Join(calls, "; ") != strings.Join(want, "; ") {
		t.Errorf("sent %q", calls)
	}
	if fmt.Sprint(last.Results) != "[true false true]" {
		t.Errorf("the promises said %v", last.Results)
	}
}
