package edge

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/internal/trace/tracetest"
)

func traceparents(records []*logged) (out []string) {
	for _, r := range records {
		for _, h := range r.Headers {
			if h.Key == event.HeaderTraceparent {
				out = append(out, string(h.Value))
			}
		}
	}
	return out
}

const callers = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// requested waits for the span of the request with this id, and answers it and the one that sent its events.
func requested(c *tracetest.Collector, id string) (request, send *tracetest.Span) {
	request = c.Wait("the request "+id, func(s *tracetest.Span) bool { return s.Attrs["keystone.request_id"] == id })
	for _, s := range c.Spans() {
		if s.Parent == request.ID {
			send = s
		}
	}
	return request, send
}

func TestTracedEvent(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge")})
	if a := r.post("/ingest", trackerKey, jsonType, page, "X-Request-Id", "one", "traceparent", callers); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	records := r.records(event.TopicEvents, 1)
	request, send := requested(c, "one")
	if request.Name != "POST /ingest" || request.Kind != "server" || request.Parent != "" || request.Attrs["http.response.status_code"] != "200" ||
		request.Attrs["keystone.tenant"] != tenant.String() {
		t.Errorf("%+v", request)
	}
	if send == nil || send.Name != "send keystone.events" || send.Kind != "producer" || send.Attrs["messaging.kafka.offset"] != "0" {
		t.Fatalf("%+v", send)
	}
	if got := traceparents(records); len(got) != 1 || got[0] != "00-"+send.Trace+"-"+send.ID+"-01" {
		t.Errorf("the record carries %v, the span that sent it is %s in %s", got, send.ID, send.Trace)
	}
	if request.Trace == callers[3:35] {
		t.Error("anybody with a tracker key can make the edge continue a trace")
	}
}

func TestNothingIsTracedUnlessSampled(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge", func(c *trace.Config) { c.Sample = 0 })})
	for _, key := range []string{trackerKey, integrationKey} {
		r.post("/ingest", key, jsonType, page, "traceparent", callers)
	}
	if got := traceparents(r.records(event.TopicEvents, 2)); got != nil {
		t.Errorf("a header forces a trace: %v", got)
	}
}

// A caller's own trace goes on where the operator allows it, for secret keys only.
func TestContinuedTrace(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge", func(c *trace.Config) { c.Sample, c.Continue = 0, 1000 })})
	unsampled := strings.TrimSuffix(callers, "1") + "0"
	for _, x := range []struct{ id, key, traceparent string }{
		{"public", trackerKey, callers}, {"unsampled", integrationKey, unsampled}, {"nonsense", integrationKey, "nonsense"},
		{"unknown", "ks_int_unknown", callers}, {"callers", integrationKey, callers},
	} {
		r.post("/ingest", x.key, jsonType, page, "X-Request-Id", x.id, "traceparent", x.traceparent)
	}
	request, send := requested(c, "callers")
	if request.Trace != callers[3:35] || request.Parent != callers[36:52] || send == nil || send.Trace != request.Trace {
		t.Errorf("%+v\n%+v", request, send)
	}
	if got := traceparents(r.records(event.TopicEvents, 4)); len(got) != 1 {
		t.Errorf("%d records are traced", len(got))
	}
	if n := len(c.Spans()); n != 2 {
		t.Errorf("%d spans:\n%s", n, tracetest.Tree(c.Spans()))
	}
}

// A batch is one sample: its first good event is followed.
func TestTracedBatch(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge")})
	const n = 2500
	body := `{"anonymous_id":"a"}` + strings.Repeat("\n"+page, n)
	if a := r.post("/ingest/batch", integrationKey, "application/x-ndjson", body, "X-Request-Id", "bulk"); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := r.post("/v1/batch", "", jsonType, `{"batch":[`+nodeMessage+`,`+nodeMessage+`],"writeKey":"`+integrationKey+`"}`, "X-Request-Id", "sdk"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	request, send := requested(c, "bulk")
	if request.Name != "POST /tenant/ingest/batch" || send == nil || send.Attrs["messaging.batch.message_count"] != "2500" || send.Name != "send keystone.backfill" {
		t.Errorf("%+v\n%+v", request, send)
	}
	if got := traceparents(r.records(event.TopicBackfill, n)); len(got) != 1 {
		t.Errorf("%d records are traced", len(got))
	}
	if _, send := requested(c, "sdk"); send == nil || send.Attrs["messaging.batch.message_count"] != "2" {
		t.Errorf("%+v", send)
	}
	if got := traceparents(r.records(event.TopicEvents, 2)); len(got) != 1 {
		t.Errorf("%d records are traced", len(got))
	}
}

// What is refused has a span that says so, and no key, identifier or payload in it.
func TestTracesOfRefusals(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge")})
	r.post("/ingest?key="+trackerKey, "", jsonType, `{"anonymous_id":"secret-device","event_type":"nonsense"}`, "X-Request-Id", "bad")
	r.post("/ingest", "ks_trk_unknown", jsonType, page, "X-Request-Id", "unknown")
	r.post("/ingest", trackerKey, jsonType, `{"anonymous_id":"secret-device","identity":"secret@example.com","event_type":"page"}`, "X-Request-Id", "good")
	for id, status := range map[string]string{"bad": "400", "unknown": "401", "good": "200"} {
		if request, _ := requested(c, id); request.Attrs["http.response.status_code"] != status {
			t.Errorf("%s: %+v", id, request)
		}
	}
	for _, secret := range []string{trackerKey, "ks_trk_unknown", "secret"} {
		if text := tracetest.Tree(c.Spans()); strings.Contains(text, secret) {
			t.Errorf("%s is in a span:\n%s", secret, text)
		}
	}
}

// An event that goes through the spool keeps its trace, and has a span for leaving the spool.
func TestTraceGoesThroughTheSpool(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge"), lane: impatient})
	end := r.outage()
	if a := r.post("/ingest", trackerKey, jsonType, page, "X-Request-Id", "spooled"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	_, send := requested(c, "spooled")
	if send == nil || send.Attrs["keystone.spooled"] != "true" {
		t.Fatalf("%+v", send)
	}
	end()
	c.Wait("leaving the spool", func(s *tracetest.Span) bool {
		return s.Parent == send.ID && s.Trace == send.Trace && s.Attrs["keystone.spooled"] == "true" && s.Attrs["messaging.kafka.offset"] != ""
	})
}

func TestTraceOfALostEvent(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, options{tracer: c.Tracer("edge"), lane: impatient})
	defer r.outage()()
	r.liveDisk.set(errors.New("no disk"))
	if a := r.post("/ingest", trackerKey, jsonType, page, "X-Request-Id", "lost"); a.status != 503 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if request, send := requested(c, "lost"); !request.Failed || send == nil || !send.Failed || send.Attrs["error.type"] != "unavailable" {
		t.Errorf("%+v\n%+v", request, send)
	}
}

// sampling is a tracer whose spans go nowhere.
func sampling(tb testing.TB, share float64) *trace.Tracer {
	tb.Helper()
	cfg := trace.DefaultConfig()
	cfg.Role, cfg.Endpoint, cfg.Sample = "edge", "http://127.0.0.1:1", share
	t, err := trace.New(cfg, slog.New(slog.DiscardHandler), trace.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		tb.Fatal(err)
	}
	if err := t.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = t.Stop(tb.Context()) })
	return t
}
