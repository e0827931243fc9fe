package edge

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/produce"
)

// The promise about a batch, however large: what it takes above an idle edge.
const (
	batchMemory = 64 << 20
	batchEvents = 100_000
)

// gauge notes the most memory in use at the moments it is asked to look.
type gauge struct{ idle, most uint64 }

func (g *gauge) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	g.most = max(g.most, m.HeapInuse)
}

// measured is a lane that holds on to what it was handed until it is waited for, as the log does, and looks.
type measured struct {
	instant
	g *gauge
	n int
}

func (l *measured) Submit(records []*kgo.Record) produce.Ticket {
	l.n += len(records)
	l.g.look()
	return produce.Ticket{}
}

// watched is a body that looks at every megabyte that is read of it.
type watched struct {
	io.Reader
	g    *gauge
	left int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.left -= n; w.left <= 0 {
		w.left = 1 << 20
		w.g.look()
	}
	return n, err
}

func packed(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "":
		return body
	case "gzip":
		w = gzip.NewWriter(&out)
	case "br":
		w = brotli.NewWriterLevel(&out, 1)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestLargestBatchAllocatesLittle takes the largest batch there may be, in every form, and looks at the
// memory in use while the body is read and at every chunk that is handed over.
func TestLargestBatchAllocatesLittle(t *testing.T) {
	skipUnderRace(t)
	s := bare(t)
	var body []byte
	for i := range batchEvents {
		body = fmt.Appendf(body, `{"message_id":"message-%06d","anonymous_id":"device-%06d","event_type":"track","event_name":"Product Viewed","timestamp":"2026-11-23T10:00:00.123Z","payload":{"product_id":"P-%06d","price":129.90,"currency":"EUR","list":"search results","position":%d,"category":"shoes"},"context":{"locale":"en-US"}}`+"\n", i, i%1000, i, i%50)
	}
	if len(body) > s.cfg.BatchBytes || len(body) < s.cfg.BatchBytes*9/10 {
		t.Fatalf("the body has %d bytes: not about the largest", len(body))
	}
	for _, encoding := range []string{"", "gzip", "zstd", "br"} {
		for _, announced := range []bool{true, false} {
			wire := packed(t, encoding, body)
			c := newCall("/ingest/batch", wire, "X-API-Key", integrationKey, "Content-Type", "application/x-ndjson")
			if encoding != "" {
				c.ctx.Request.Header.Set("Content-Encoding", encoding)
			}
			debug.FreeOSMemory()
			g := new(gauge)
			g.look()
			g.idle = g.most
			lane := &measured{g: g}
			s.deps.Backfill = lane
			length := -1
			if announced {
				length = len(wire)
			}
			c.ctx.Request.SetBodyStream(&watched{Reader: bytes.NewReader(wire), g: g}, length)
			s.handle(&c.ctx)
			if status := c.ctx.Response.StatusCode(); status != 202 || lane.n != batchEvents {
				t.Fatalf("%d, %d events: %.300s", status, lane.n, c.ctx.Response.Body())
			}
			used := g.most - g.idle
			t.Logf("%q, length announced %v: %.1f MiB above idle", encoding, announced, float64(used)/(1<<20))
			if used > batchMemory {
				t.Errorf("%q, length announced %v: %d MiB above idle, promised %d", encoding, announced, used>>20, batchMemory>>20)
			}
		}
	}
}
