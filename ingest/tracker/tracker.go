// Package tracker holds the browser tracker, tracker.js, and serves it: compressed once at the
// start, with an ETag, so that a browser keeps it for a day and then asks whether it has changed.
// It has no goroutine and nothing to stop.
package tracker

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for tracker.js
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/valyala/fasthttp"
)

//go:embed tracker.js
var source []byte

// cacheControl: a day without asking; after that the old one is used while the browser asks.
const cacheControl = "public, max-age=86400, stale-while-revalidate=604800"

// Script is the tracker, ready to be sent.
type Script struct {
	plain, gzip, brotli variant
}

// variant is one encoding of it. Each has an ETag of its own, as HTTP wants.
type variant struct {
	encoding string
	etag     string
	body     []byte
}

// New compresses the script.
func New() (*Script, error) {
	sum := sha256.Sum256(source)
	tag := hex.EncodeToString(sum[:8])
	var gz, br bytes.Buffer
	w, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(source)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress tracker.js: %w", err)
	}
	b := brotli.NewWriterLevel(&br, brotli.BestCompression)
	if _, err = b.Write(source); err == nil {
		err = b.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress tracker.js: %w", err)
	}
	return &Script{
		plain:  variant{"", `"` + tag + `"`, source},
		gzip:   variant{"gzip", `"` + tag + `-gz"`, gz.Bytes()},
		brotli: variant{"br", `"` + tag + `-br"`, br.Bytes()},
	}, nil
}

// Serve answers GET and HEAD.
func (s *Script) Serve(ctx *fasthttp.RequestCtx) {
	v := s.choose(ctx.Request.Header.Peek(fasthttp.HeaderAcceptEncoding))
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderETag, v.etag)
	h.Set(fasthttp.HeaderCacheControl, cacheControl)
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	// A public script, the same for everybody: any page may load it, also with crossorigin set.
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Timing-Allow-Origin", "*")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	if matches(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), v.etag) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	h.SetContentType("text/javascript; charset=utf-8")
	if v.encoding != "" {
		h.Set(fasthttp.HeaderContentEncoding, v.encoding)
	}
	ctx.Response.SetBodyRaw(v.body)
}

func (s *Script) choose(accept []byte) *variant {
	switch {
	case accepts(accept, "br"):
		return &s.brotli
	case accepts(accept, "gzip"):
		return &s.gzip
	}
	return &s.plain
}

// accepts tells whether an Accept-Encoding lists a coding with a weight above 0.
func accepts(header []byte, coding string) bool {
	for part := range bytes.SplitSeq(header, []byte(",")) {
		name, params, _ := bytes.Cut(part, []byte(";"))
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte(coding)) {
			continue
		}
		weight, found := bytes.CutPrefix(bytes.TrimSpace(params), []byte("q="))
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(string(bytes.TrimSpace(weight)), 64)
		return err == nil && q > 0
	}
	return false
}

// matches tells whether an If-None-Match names the tag; weakness does not matter to it.
func matches(header []byte, etag string) bool {
	for part := range bytes.SplitSeq(header, []byte(",")) {
		part = bytes.TrimPrefix(bytes.TrimSpace(part), []byte("W/"))
		if string(part) == etag || string(part) == "*" {
			return true
		}
	}
	return false
}
