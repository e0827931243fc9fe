package payload

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

// FuzzRead: whatever comes as a body, no more than the limit comes out, nothing stays charged, and what
// the standard library's gzip reads is read the same.
func FuzzRead(f *testing.F) {
	text := []byte(`{"events":[{"a":1}]}`)
	for _, encoding := range []string{"", "gzip", "zstd", "br"} {
		f.Add(compress(f, encoding, text), encoding, false)
		f.Add(compress(f, encoding, bytes.Repeat([]byte("a"), 1<<16)), encoding, true)
	}
	const most = 32 << 10
	f.Fuzz(func(t *testing.T, wire []byte, encoding string, announced bool) {
		r := newReader()
		length := -1
		if announced {
			length = len(wire)
		}
		var b Buffer
		for range 2 { // the second time with used decompressors
			err := r.Read(&b, Source{Body: bytes.NewReader(wire), Length: length, Encoding: []byte(encoding), Limit: most})
			switch {
			case err == nil && len(b.B) > most:
				t.Fatalf("%d bytes of %d allowed", len(b.B), most)
			case err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrCorrupt):
				t.Fatalf("%q: %v", encoding, err)
			}
			if encoding == "gzip" {
				want, wantErr := unzip(wire, most)
				if wantErr == nil && len(wire) <= most && (err != nil || !bytes.Equal(b.B, want)) {
					t.Fatalf("%x: %d bytes, %v; compress/gzip has %d", wire, len(b.B), err, len(want))
				}
			}
			r.Release(&b, false)
			if b.charged != 0 || !r.budget.TryAcquire(64<<20) {
				t.Fatal("memory stays charged")
			}
			r.budget.Release(64 << 20)
		}
	})
}

// unzip is what the standard library makes of it, if that is no more than limit.
func unzip(wire []byte, limit int) ([]byte, error) {
	d, err := gzip.NewReader(bytes.NewReader(wire))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(d, int64(limit)+1))
	if err == nil && len(out) > limit {
		err = ErrTooLarge
	}
	return out, err
}

// FuzzLines: lines are cut where they end, blank ones are none, and nothing is lost between them.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"{}\n{}\n", "\r\n{\"a\":1}\r\n\r\n", "\xef\xbb\xbf1\n2", "", "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Batch
		b.Reset(1 << 20)
		if err := b.Lines(data); err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for line := range bytes.SplitSeq(bytes.TrimPrefix(data, byteOrderMark), []byte("\n")) {
			if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
				want = append(want, line)
			}
		}
		if len(want) != len(b.Items) {
			t.Fatalf("%q: %d items, want %d", data, len(b.Items), len(want))
		}
		for i := range want {
			if !bytes.Equal(want[i], b.Items[i]) {
				t.Fatalf("%q: item %d is %q, want %q", data, i, b.Items[i], want[i])
			}
		}
	})
}
