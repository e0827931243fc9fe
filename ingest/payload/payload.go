// Package payload turns what came over the wire into JSON text: it reads a request's body within
// limits, undoes its content encoding while bounding what comes out, and cuts batches into items.
// It does not judge items: that is internal/event's.
//
// Nothing here starts a goroutine. A Buffer's bytes are valid until it is Released.
package payload

import (
	"bytes"
	"errors"
)

// What may be wrong with a body. Errors of the connection come through as they are.
var (
	ErrTooLarge = errors.New("the body is larger than the limit") // also after decompression
	ErrEncoding = errors.New("unsupported content encoding: give gzip, zstd, br or none")
	ErrCorrupt  = errors.New("the body does not decompress")
	ErrBusy     = errors.New("too many large bodies at the same time")
)

// Media is what a Content-Type says, as far as the edge cares.
type Media uint8

// The media types. Form is curl's default for --data-binary.
const (
	None Media = iota
	JSON
	Text
	NDJSON
	Form
	Other
)

// MediaOf reads a Content-Type; parameters such as a charset do not matter (JSON is UTF-8).
func MediaOf(contentType []byte) Media {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	contentType = bytes.TrimSpace(contentType)
	if len(contentType) == 0 {
		return None
	}
	for _, m := range medias {
		if len(m.name) == len(contentType) && bytes.EqualFold(contentType, []byte(m.name)) {
			return m.media
		}
	}
	return Other
}

var medias = [...]struct {
	name  string
	media Media
}{
	{"application/json", JSON},
	{"text/plain", Text},
	{"application/x-ndjson", NDJSON},
	{"application/ndjson", NDJSON},
	{"application/jsonl", NDJSON},
	{"application/x-jsonlines", NDJSON},
	{"application/x-www-form-urlencoded", Form},
}

// byteOrderMark is what some programs put before UTF-8 text. It is no part of the JSON.
var byteOrderMark = []byte("\xef\xbb\xbf")

// Trim takes a byte order mark and the white space around a body away.
func Trim(body []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
}
