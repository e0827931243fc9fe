package tracker

import (
	"bytes"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/valyala/fasthttp"
)

func get(t *testing.T, f *File, headers ...string) *fasthttp.Response {
	t.Helper()
	var ctx fasthttp.RequestCtx
	for i := 0; i < len(headers); i += 2 {
		ctx.Request.Header.Set(headers[i], headers[i+1])
	}
	f.Serve(&ctx)
	return &ctx.Response
}

func TestServe(t *testing.T) {
	s, err := Script()
	if err != nil {
		t.Fatal(err)
	}
	testServe(t, s, source, "text/javascript; charset=utf-8")
	if s, err = Declarations(); err != nil {
		t.Fatal(err)
	}
	testServe(t, s, declarations, "text/plain; charset=utf-8")
}

func testServe(t *testing.T, s *File, source []byte, contentType string) {
	tags := map[string]bool{}
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "gzip, deflate, br": "br", "br;q=0, gzip": "gzip", "BR;q=0.5": "br", "identity": "", "gzip;q=0": "", "gzip;q=x": "",
	} {
		r := get(t, s, "Accept-Encoding", accept)
		if r.StatusCode() != 200 || string(r.Header.Peek("Content-Encoding")) != want {
			t.Errorf("%q: %d %s", accept, r.StatusCode(), r.Header.Peek("Content-Encoding"))
		}
		var body io.Reader = bytes.NewReader(r.Body())
		var err error
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
			"Content-Type": contentType, "X-Content-Type-Options": "nosniff",
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
	s, err := Script()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of gzip, %d of brotli", len(s.gzip.body), len(s.brotli.body))
	if len(s.brotli.body) > 6000 || len(s.gzip.body) > 6000 || len(s.brotli.body) >= len(s.gzip.body) {
		t.Error("that is not small")
	}
}
