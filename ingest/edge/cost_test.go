package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// instant is a lane that is always done.
type instant struct{}

func (instant) Submit([]*kgo.Record) produce.Ticket { return produce.Ticket{} }
func (instant) Wait(produce.Ticket) produce.Outcome { return produce.Outcome{} }
func (instant) Ready() error                        { return nil }

type noJobs struct{}

func (noJobs) Save(job.Job) {}
func (noJobs) Status(context.Context, uuid.UUID, uuid.UUID) (job.Status, error) {
	return job.Status{}, job.ErrUnknownJob
}

// bare is an edge whose lanes and stores cost nothing: what is left is the handler.
func bare(tb testing.TB, tracer ...*trace.Tracer) *Server {
	tb.Helper()
	var t *trace.Tracer
	if len(tracer) > 0 {
		t = tracer[0]
	}
	keys, err := key.New(key.DefaultConfig(), newKeySource(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := New(DefaultConfig(), Deps{Keys: keys, Live: instant{}, Backfill: instant{}, Jobs: noJobs{}, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Tracer: t})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// call is one request that can be made again and again.
type call struct {
	ctx  fasthttp.RequestCtx
	src  bytes.Reader
	body []byte
	path string
	h    []string
}

func newCall(path string, body []byte, headers ...string) *call {
	c := &call{path: path, body: body, h: headers}
	c.ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	h := &c.ctx.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI(path)
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return c
}

func (c *call) run(s *Server) int {
	c.src.Reset(c.body)
	c.ctx.Request.SetBodyStream(&c.src, len(c.body))
	c.ctx.Response.Reset()
	s.handle(&c.ctx)
	return c.ctx.Response.StatusCode()
}

func event400(tb testing.TB) []byte {
	tb.Helper()
	data, err := os.ReadFile("../../internal/jsonscan/testdata/event400.json")
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimSpace(data)
}

// raceEnabled: the race detector empties pools at random, so nothing can be said about allocations.
var raceEnabled bool

func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
}

// The promise of the hot path: how much one request allocates in the handler, everything on but the
// log's client. It may fall, not rise.
//
// All of them are internal/event's: the anonymous id's text, the list it is put in, and of an
// identity its texts.
func TestHandlerAllocations(t *testing.T) {
	skipUnderRace(t)
	t.Run("off", func(t *testing.T) { handlerAllocations(t, bare(t)) })
	// Where there are traces, a request that is not sampled costs a random number.
	t.Run("not sampled", func(t *testing.T) { handlerAllocations(t, bare(t, sampling(t, 0))) })
}

func handlerAllocations(t *testing.T, s *Server) {
	message := []byte(nodeMessage)
	for name, c := range map[string]struct {
		call *call
		most float64
	}{
		"a tracker's event":  {newCall("/ingest", event400(t), "X-API-Key", trackerKey, "Content-Type", jsonType, "Origin", "https://shop.example", "User-Agent", "Mozilla/5.0"), 1},
		"a minted id":        {newCall("/ingest", []byte(page), "X-API-Key", trackerKey, "Content-Type", jsonType), 1},
		"with an identity":   {newCall("/ingest", []byte(`{"anonymous_id":"a","identity":"ann@example.com","event_type":"page"}`), "X-API-Key", integrationKey), 2},
		"a refused event":    {newCall("/ingest", []byte(`{"anonymous_id":"a"}`), "X-API-Key", trackerKey), 4},
		"a Segment message":  {newCall("/v1/track", message, "Authorization", basic(integrationKey)), 6},
		"a batch of 1 event": {newCall("/ingest/batch", []byte("["+page+"]"), "X-API-Key", integrationKey), 6},
	} {
		if status := c.call.run(s); status >= 300 && name != "a refused event" {
			t.Fatalf("%s: %d %s", name, status, c.call.ctx.Response.Body())
		}
		n := testing.AllocsPerRun(200, func() { c.call.run(s) })
		t.Logf("%s: %v allocations", name, n)
		if n > c.most {
			t.Errorf("%s: %v allocations, promised %v", name, n, c.most)
		}
	}
}

// Per event of a batch nothing is allocated but what an event's identifiers take.
func TestBatchAllocations(t *testing.T) {
	skipUnderRace(t)
	s := bare(t)
	const n = 1000
	body := bytes.Repeat(append(event400(t), '\n'), n)
	c := newCall("/ingest/batch", body, "X-API-Key", integrationKey, "Content-Type", "application/x-ndjson")
	if status := c.run(s); status != 202 {
		t.Fatal(status)
	}
	got := testing.AllocsPerRun(20, func() { c.run(s) })
	t.Logf("%v allocations for %d events", got, n)
	if got > 1.1*n {
		t.Errorf("%v allocations for %d events", got, n)
	}
}

// BenchmarkTraces is what traces cost a request: where there are none, where it is not sampled, and where
// it is. Its spans are dropped.
func BenchmarkTraces(b *testing.B) {
	for _, x := range []struct {
		name   string
		server *Server
	}{{"off", bare(b)}, {"sample=0.001", bare(b, sampling(b, 0.001))}, {"sample=1", bare(b, sampling(b, 1))}} {
		c := newCall("/ingest", event400(b), "X-API-Key", trackerKey, "Content-Type", jsonType, "Origin", "https://shop.example", "User-Agent", "Mozilla/5.0")
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.run(x.server) != 200 {
					b.Fatal(string(c.ctx.Response.Body()))
				}
			}
		})
	}
}

func BenchmarkHandler(b *testing.B) {
	s := bare(b)
	for name, c := range map[string]*call{
		"single":  newCall("/ingest", event400(b), "X-API-Key", trackerKey, "Content-Type", jsonType, "Origin", "https://shop.example", "User-Agent", "Mozilla/5.0"),
		"segment": newCall("/v1/track", []byte(nodeMessage), "Authorization", basic(integrationKey)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if c.run(s) != 200 {
					b.Fatal(string(c.ctx.Response.Body()))
				}
			}
		})
	}
	const n = 1000
	one := event400(b)
	list := append([]byte(`{"events":[`), bytes.Repeat(append(bytes.Clone(one), ','), n)...)
	list = append(list[:len(list)-1], "]}"...)
	lines := newCall("/ingest/batch", bytes.Repeat(append(bytes.Clone(one), '\n'), n), "X-API-Key", integrationKey, "Content-Type", "application/x-ndjson")
	for _, x := range []struct {
		name string
		c    *call
		live bool // a small request has just come
	}{
		{"ndjson", lines, false},
		{"ndjson/live", lines, true},
		{"json", newCall("/ingest/batch", list, "X-API-Key", integrationKey, "Content-Type", jsonType), false},
	} {
		b.Run("batch/"+x.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(x.c.body)))
			start := time.Now()
			for b.Loop() {
				if x.live {
					s.courtesy.came(time.Now().UnixMicro())
				}
				if x.c.run(s) != 202 {
					b.Fatal(string(x.c.ctx.Response.Body()))
				}
			}
			b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N)/n, "ns/event")
		})
	}
}
