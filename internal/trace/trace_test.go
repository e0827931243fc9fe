package trace_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/internal/trace/tracetest"
)

func TestMain(m *testing.M) {
	// The exporter's connections outlive it: the SDK has them in a transport of its own, idle for 90 seconds.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const patience = 2 * time.Minute

func config(endpoint string) trace.Config {
	c := trace.DefaultConfig()
	c.Role, c.Endpoint, c.Sample, c.SendEvery = "edge", endpoint, 1, 10*time.Millisecond
	return c
}

type running struct {
	*trace.Tracer
	t        *testing.T
	registry *prometheus.Registry
	log      bytes.Buffer // to be read after Stop
}

func start(t *testing.T, cfg trace.Config) *running {
	t.Helper()
	r := &running{t: t, registry: prometheus.NewRegistry()}
	var err error
	if r.Tracer, err = trace.New(cfg, slog.New(slog.NewTextHandler(&r.log, nil)), trace.NewMetrics(r.registry)); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(time.Second) })
	return r
}

func (r *running) stop(within time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		r.t.Error(err)
	}
}

// counts are the spans by what became of them.
func (r *running) counts() map[string]float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "keystone_trace_queued_spans" {
				out["queued"] = m.GetGauge().GetValue()
			}
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" {
					out[l.GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}

func (r *running) conserved(ended float64) {
	r.t.Helper()
	c := r.counts()
	if sum := c["exported"] + c["failed"] + c["dropped"] + c["queued"]; sum != ended {
		r.t.Errorf("%v spans ended, and became of them: %v", ended, c)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestOffIsNil(t *testing.T) {
	var off *trace.Tracer
	traced := []*kgo.Record{{Headers: []kgo.RecordHeader{{Key: event.HeaderTraceparent, Value: []byte(sampled)}}}}
	if off.Sample() || off.Continues() || off.Of(traced[0].Headers).IsValid() || off.Traced(traced) != nil {
		t.Error("a tracer that is off finds something to do")
	}
	n := testing.AllocsPerRun(100, func() {
		off.Sample()
		off.Traced(traced)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// untraced is a batch of the processor's size in which nothing is traced.
func untraced() []*kgo.Record {
	meta := event.Meta{Tenant: uuid.New(), ReceivedAt: time.Now(), KeyID: "k", RequestID: "r", MessageID: "m", IP: "203.0.113.7"}
	records := make([]*kgo.Record, 500)
	for i := range records {
		records[i] = &kgo.Record{Headers: meta.Headers()}
	}
	return records
}

// Where there are traces, what is not traced costs a look at its headers.
func TestUntracedAllocatesNothing(t *testing.T) {
	cfg := config("http://127.0.0.1:1")
	cfg.Sample = 0
	r := start(t, cfg)
	records := untraced()
	if n := testing.AllocsPerRun(100, func() {
		if r.Sample() || r.Traced(records) != nil {
			t.Error("traced")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkBatch is the look at a batch of 500 records, as the processor and the sink do it: where traces
// are off, where none of the records is traced, and where one is.
func BenchmarkBatch(b *testing.B) {
	on, err := trace.New(config("http://127.0.0.1:1"), slog.New(slog.DiscardHandler), trace.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		b.Fatal(err)
	}
	none, one := untraced(), untraced()
	one[250].Headers = append(one[250].Headers, kgo.RecordHeader{Key: event.HeaderTraceparent, Value: []byte(sampled)})
	for _, x := range []struct {
		name    string
		tracer  *trace.Tracer
		records []*kgo.Record
	}{{"off", nil, one}, {"none", on, none}, {"one", on, one}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.tracer.Traced(x.records)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(x.records)), "ns/record")
		})
	}
}

func TestSpansArrive(t *testing.T) {
	c := tracetest.New(t)
	r := start(t, config(c.Endpoint()))
	root := r.Root("POST /ingest", oteltrace.WithSpanKind(oteltrace.SpanKindServer))
	child := r.Child(root.SpanContext(), "send keystone.events", trace.Sending("keystone.events", true)...)
	child.End()
	root.End()
	r.stop(patience)
	spans := c.Spans()
	if len(spans) != 2 || spans[1].Parent != spans[0].ID || spans[0].Trace != spans[1].Trace || spans[0].Service != "keystone-edge" {
		t.Fatal(tracetest.Tree(spans))
	}
	if a := spans[1].Attrs; spans[1].Kind != "producer" || a["messaging.system"] != "kafka" || a["messaging.destination.name"] != "keystone.events" {
		t.Error(tracetest.Tree(spans))
	}
	r.conserved(2)
}

const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestHeaders(t *testing.T) {
	r := start(t, config("http://127.0.0.1:1"))
	of := func(value string) oteltrace.SpanContext {
		return r.Of([]kgo.RecordHeader{{Key: "tenant", Value: []byte("x")}, {Key: event.HeaderTraceparent, Value: []byte(value)}, {Key: "dlq_reason"}})
	}
	sc := of(sampled)
	if !sc.IsSampled() || sc.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || sc.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("read %v", sc)
	}
	if h := trace.Header(sc); string(h.Value) != sampled || h.Key != event.HeaderTraceparent {
		t.Errorf("wrote %s", h.Value)
	}
	for _, odd := range []string{
		"", "0", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		strings.ToUpper(sampled), strings.Repeat("0", 1<<16), sampled[:54] + "\x00",
	} {
		if of(odd).IsValid() {
			t.Errorf("%.80q is taken for a traced record", odd)
		}
	}
}

// A caller's traces go on only as far as the operator allows, and not if the caller has not sampled them.
func TestContinue(t *testing.T) {
	cfg := config("http://127.0.0.1:1")
	if r := start(t, cfg); r.Continues() || r.Continue([]byte(sampled)).IsValid() {
		t.Error("by default no caller's trace goes on")
	}
	cfg.Continue = 3
	r := start(t, cfg)
	if r.Continue([]byte(strings.Replace(sampled, "-01", "-00", 1))).IsValid() {
		t.Error("a trace that the caller has not sampled goes on")
	}
	begin, taken := time.Now(), 0
	for range 1000 {
		if r.Continue([]byte(sampled)).IsValid() {
			taken++
		}
	}
	if seconds := int(time.Since(begin)/time.Second) + 2; taken < 3 || taken > 3*seconds {
		t.Errorf("%d of 1000 traces went on", taken)
	}
}

func TestSample(t *testing.T) {
	for _, share := range []float64{0, 0.25, 1} {
		cfg := config("http://127.0.0.1:1")
		cfg.Sample = share
		r := start(t, cfg)
		const n = 100_000
		hits := 0
		for range n {
			if r.Sample() {
				hits++
			}
		}
		// 20 standard deviations: never, by chance.
		if got := float64(hits) / n; got < share-0.03 || got > share+0.03 || (share == 0 || share == 1) && got != share {
			t.Errorf("%v of the requests are traced, not %v", got, share)
		}
	}
}

// A collector that is not there: spans are lost and counted, nobody waits, and the end is no error.
func TestCollectorIsAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	cfg := config(gone.URL)
	r := start(t, cfg)
	const n = 10_000
	for range n {
		r.Root("POST /ingest").End()
	}
	r.stop(patience)
	r.conserved(n)
	if c := r.counts(); c["exported"] != 0 || c["failed"] == 0 || c["queued"] != 0 {
		t.Errorf("%v", c)
	}
	if lines := strings.Count(r.log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines in the log:\n%s", lines, r.log.String())
	}
}

// A collector that hangs: the queue has its bound, what is more is dropped and counted, ending a span
// never waits, and Stop is as long as its context.
func TestCollectorHangs(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 100)
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer hangs.Close()
	defer close(release)
	cfg := config(hangs.URL)
	cfg.QueueSpans, cfg.BatchSpans, cfg.SendTimeout = 1000, 100, time.Hour
	r := start(t, cfg)
	for range cfg.BatchSpans {
		r.Root("POST /ingest").End()
	}
	<-asked // the first batch is on its way, and stays there
	const more = 5000
	for range more {
		r.Root("POST /ingest").End()
	}
	want := map[string]float64{"queued": 1000, "dropped": more - 900}
	if c := r.counts(); c["queued"] != want["queued"] || c["dropped"] != want["dropped"] || c["exported"]+c["failed"] != 0 {
		t.Errorf("%v, want %v", c, want)
	}
	r.conserved(100 + more)
	begin := time.Now()
	r.stop(100 * time.Millisecond)
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("Stop took %s", took)
	}
	until(t, "all that was queued is given up", func() bool { return r.counts()["queued"] == 0 })
	r.conserved(100 + more)
}

// A collector that comes later gets what is ended from then on.
func TestCollectorComesLater(t *testing.T) {
	port, err := embedded.FreePort() // one of the kernel's choice may be somebody else's later
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	r := start(t, config("http://"+addr))
	r.Root("POST /ingest").End()
	until(t, "the span is lost", func() bool { return r.counts()["failed"] == 1 })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	later := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_ = later.Listener.Close()
	later.Listener = l
	later.Start()
	defer later.Close()
	r.Root("POST /ingest").End()
	until(t, "the next one arrives", func() bool { return r.counts()["exported"] == 1 })
	r.conserved(2)
}

func TestMaxPerBatch(t *testing.T) {
	r := start(t, config("http://127.0.0.1:1"))
	records := make([]*kgo.Record, 2*trace.MaxPerBatch)
	for i := range records {
		records[i] = &kgo.Record{Headers: []kgo.RecordHeader{{Key: event.HeaderTraceparent, Value: []byte(sampled)}}}
	}
	if n := len(r.Traced(records)); n != trace.MaxPerBatch {
		t.Errorf("%d records are traced", n)
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := trace.Config{Endpoint: "collector:4317", Sample: 2, Continue: -1}.Validate()
	for _, rule := range []string{"role", "http://collector:4318", "sample", "continue", "queue_spans", "send_timeout"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
	c := config("https://token:s3cret@collector.example")
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "token") {
		t.Errorf("credentials in the endpoint: %v", err)
	}
}
