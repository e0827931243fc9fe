// Package tracker holds the browser tracker, tracker.js, and its TypeScript declarations, and serves
// both: compressed once at the start, with an ETag, so that a browser keeps the script for a day and
// then asks whether it has changed. It has no goroutine and nothing to stop.
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

//go:embed tracker.d.ts
var declarations []byte

// cacheControl: a day without asking; after that the old one is used while the browser asks.
const cacheControl = "public, max-age=86400, stale-while-revalidate=604800"

// File is one of the two, ready to be sent.
type File struct {
	contentType         string
	plain, gzip, brotli variant
}

// variant is one encoding of it. Each has an ETag of its own, as HTTP wants.
type variant struct {
	encoding string
	etag     string
	body     []byte
}

// Script is tracker.js.
func Script() (*File, error) { return compress(source, "text/javascript; charset=utf-8") }

// Declarations is tracker.d.ts: plain text, since browsers know no type for TypeScript.
func Declarations() (*File, error) { return compress(declarations, "text/plain; charset=utf-8") }

func compress(text []byte, contentType string) (*File, error) {
	sum := sha256.Sum256(text)
	tag := hex.EncodeToString(sum[:8])
	var gz, br bytes.Buffer
	w, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress the tracker: %w", err)
	}
	b := brotli.NewWriterLevel(&br, brotli.BestCompression)
	if _, err = b.Write(text); err == nil {
		err = b.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress the tracker: %w", err)
	}
	return &File{
		contentType: contentType,
		plain:       variant{"", `"` + tag + `"`, text},
		gzip:        variant{"gzip", `"` + tag + `-gz"`, gz.Bytes()},
		brotli:      variant{"br", `"` + tag + `-br"`, br.Bytes()},
	}, nil
}

// Serve answers GET and HEAD.
func (f *File) Serve(ctx *fasthttp.RequestCtx) {
	v := f.choose(ctx.Request.Header.Peek(fasthttp.HeaderAcceptEncoding))
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderETag, v.etag)
	h.Set(fasthttp.HeaderCacheControl, cacheControl)
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	// Public, the same for everybody: any page may load it, also with crossorigin set.
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Timing-Allow-Origin", "*")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	if matches(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), v.etag) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	h.SetContentType(f.contentType)
	if v.encoding != "" {
		h.Set(fasthttp.HeaderContentEncoding, v.encoding)
	}
	ctx.Response.SetBodyRaw(v.body)
}

func (f *File) choose(accept []byte) *variant {
	switch {
	case accepts(accept, "br"):
		return &f.brotli
	case accepts(accept, "gzip"):
		return &f.gzip
	}
	return &f.plain
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
