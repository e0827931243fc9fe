package main

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/trace/tracetest"
)

// TestTraceFromEdgeToClickHouse runs the roles as processes of their own, and follows two events: one
// that goes its way at once, and one that waits in the edge's spool while the log is away. All spans of
// an event are one trace, each under the one that caused it.
func TestTraceFromEdgeToClickHouse(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	collector := tracetest.New(t)
	db := enginetest.ClickHouse(t)
	in := &installation{t: t, bin: binary(t), store: enginetest.Store(t), columns: db.NativeDSN,
		client: &dev{devInfo: devInfo{ClickHouseURL: columnsURL(t, db)}}}
	in.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.Endpoint(), "OTEL_EXPORTER_OTLP_HEADERS=x-token=s3cret", "KEYSTONE_TRACE_SAMPLE=1",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test"}
	cfg := broker.DefaultConfig()
	cfg.DataDir = filepath.Join(t.TempDir(), "log")
	b, err := broker.New(cfg)
	if err == nil {
		err = b.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(t.Context()) })
	in.brokers = strings.Join(b.Addrs(), ",")
	in.run("migrate")
	in.run("tenants", "create", "shop")
	in.client.TrackerKey = in.key("shop", "tracker")
	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	sink := in.start("running", "sink")
	processor := in.start("running", "processor")
	in.client.EdgeURL = "http://" + edge.logged("address")

	// Before the first event the edge has no connection to the log: on a machine under load it may lose patience.
	in.traced("first", `{"message_id":"m0","anonymous_id":"d0","event_type":"page"}`)
	in.run("lag", "--wait", "60s")
	in.traced("at-once", `{"message_id":"m1","anonymous_id":"d1","identity":"ann@example.com","event_type":"identify"}`)
	f := follow(t, collector, "at-once")
	if f.edge.Attrs["keystone.spooled"] != "" {
		t.Error("the first event went through the spool")
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.traced("late", `{"message_id":"m2","anonymous_id":"d2","event_type":"page"}`) // may come twice: the log had been asked
	in.traced("later", `{"message_id":"m3","anonymous_id":"d3","event_type":"page"}`)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := follow(t, collector, "later"); f.edge.Attrs["keystone.spooled"] != "true" {
		t.Errorf("the second event did not go through the spool: %v", f.edge)
	}
	in.run("lag", "--wait", "60s")
	in.want("at-once|first|late|later", "SELECT request_id FROM events ORDER BY request_id")
	if collector.Headers().Get("X-Token") != "s3cret" {
		t.Error("the collector's header is not sent")
	}
	for _, r := range []*role{edge, sink, processor} {
		r.stop()
		if strings.Contains(r.log.String(), "s3cret") {
			t.Errorf("%s logs the collector's secret", r.name)
		}
	}
}

// traced sends an event under a request id.
func (in *installation) traced(id, body string) {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, in.client.EdgeURL+"/ingest", strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", in.client.TrackerKey)
	req.Header.Set("X-Request-Id", id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		in.t.Fatalf("%s: %s", id, resp.Status)
	}
}

// followed is what a trace is looked at for beyond its shape.
type followed struct{ edge *tracetest.Span }

// follow waits for the whole trace of a request with one event, span by span, each under the last.
func follow(t *testing.T, c *tracetest.Collector, id string) followed {
	t.Helper()
	request := c.Wait("the request "+id, func(s *tracetest.Span) bool { return s.Attrs["keystone.request_id"] == id })
	child := func(parent *tracetest.Span, service, name, kind string) *tracetest.Span {
		t.Helper()
		s := c.Wait(service+": "+name+" of "+id, func(s *tracetest.Span) bool {
			return s.Parent == parent.ID && s.Service == "keystone-"+service && s.Name == name && s.Kind == kind
		})
		if s.Trace != request.Trace || s.End.Before(s.Start) || s.Start.Before(request.Start) || s.Failed {
			t.Errorf("%s is not in its place: %+v", name, s)
		}
		return s
	}
	send := child(request, "edge", "send keystone.events", "producer")
	inserted := child(send, "sink", "process keystone.events", "consumer")
	if insert := child(inserted, "sink", "INSERT events", "client"); insert.Attrs["db.system.name"] != "clickhouse" || insert.Attrs["db.operation.batch.size"] == "" {
		t.Errorf("%v", insert.Attrs)
	}
	processed := child(send, "processor", "process keystone.events", "consumer")
	changed := child(processed, "processor", "send keystone.changes", "producer")
	arrived := child(changed, "sink", "process keystone.changes", "consumer")
	child(arrived, "sink", "INSERT profiles", "client")
	batch := c.Wait("the batch of "+id, func(s *tracetest.Span) bool { return len(processed.Links) == 1 && s.ID == processed.Links[0] })
	if batch.Trace == request.Trace || !slices.Contains(batch.Links, send.ID) || batch.Attrs["messaging.batch.message_count"] == "" {
		t.Errorf("the batch: %+v", batch)
	}
	c.Wait("the transaction of "+id, func(s *tracetest.Span) bool {
		return s.Parent == batch.ID && s.Name == "apply" && s.Attrs["keystone.applied"] != "0"
	})
	return followed{send}
}

func TestTraceSettings(t *testing.T) {
	edge := []string{"config", "print", "edge", "--store-dsn=postgres://x", "--brokers=a:9092", "--spool-dir=/nowhere"}
	for _, x := range []struct {
		name, endpoint string
		env            map[string]string
		args           []string
	}{
		{"off", `""`, nil, nil},
		{"by flag", `"http://c:4318"`, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318"}, []string{"--trace-endpoint=http://c:4318"}},
		{"by OpenTelemetry's variable", `"http://c:4318/v1/traces"`, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, nil},
		{"by its variable for traces", `"http://c:4318/here"`, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/here", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other"}, nil},
		{"switched off", `""`, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, nil},
		{"no traces", `""`, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			for name, value := range x.env {
				t.Setenv(name, value)
			}
			out, err := runCLI(t, append(edge, x.args...)...)
			if err != nil || !strings.Contains(out, `"endpoint": `+x.endpoint) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	for want, set := range map[string]map[string]string{
		"sample must be between 0 and 1":                 {"KEYSTONE_TRACE_SAMPLE": "2"},
		"endpoint must not hold credentials":             {"KEYSTONE_TRACE_ENDPOINT": "https://t0ken:s3cret@c"},
		"OTEL_EXPORTER_OTLP_HEADERS: the 2. pair":        {"KEYSTONE_TRACE_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a=b,s3cret"},
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS: the 1. pair": {"KEYSTONE_TRACE_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=s3cret%"},
		"endpoint must be like http://collector:4318":    {"OTEL_EXPORTER_OTLP_ENDPOINT": "s3cret:4317"},
		"trace: continue must not be negative":           {"KEYSTONE_TRACE_CONTINUE": "-1"},
		"OTEL_TRACES_EXPORTER=none leaves it alone":      {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/?token=s3cret"},
	} {
		t.Run(want, func(t *testing.T) {
			for name, value := range set {
				t.Setenv(name, value)
			}
			out, err := runCLI(t, edge...)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(out+err.Error(), "s3cret") || strings.Contains(out, "t0ken") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if out, err := runCLI(t, "config", "print", "sink", "--clickhouse-dsn=clickhouse://c", "--brokers=a:9092", "--trace-endpoint=http://c:4318"); err != nil || !strings.Contains(out, `"role": "sink"`) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := runCLI(t, "config", "line", "processor", "--store-dsn=postgres://x", "--brokers=a:9092", "--trace-endpoint=c:4317"); err == nil || !strings.Contains(err.Error(), "http://collector:4318") {
		t.Errorf("config line: %v", err)
	}
}
