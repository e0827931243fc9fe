// Package tracetest stands in for a collector of traces in tests: it takes OTLP over HTTP, as Jaeger,
// Tempo and the OpenTelemetry Collector do, and keeps the spans. For tests only.
package tracetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keystone-cdp/keystone/internal/trace"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// Collector is a collector that is there until the end of the test.
type Collector struct {
	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	spans   []*Span
	headers http.Header // of the last request
}

// Span is a span as it came, with what its resource says.
type Span struct {
	Service string
	Name    string
	Kind    string // server, client, producer, consumer, internal
	Trace   string // hex
	ID      string
	Parent  string
	Links   []string // ids of spans
	Failed  bool
	Start   time.Time
	End     time.Time
	Attrs   map[string]string
}

// New starts a collector.
func New(t testing.TB) *Collector {
	c := &Collector{t: t}
	c.server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.server.Close)
	return c
}

// Endpoint is where it listens.
func (c *Collector) Endpoint() string { return c.server.URL }

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := read(r)
	request := new(collector.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || err != nil {
		c.t.Errorf("this is no OTLP: %s %s, %s: %v", r.Method, r.URL.Path, r.Header.Get("Content-Type"), err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = r.Header.Clone()
	for _, resource := range request.ResourceSpans {
		service := attributes(resource.Resource.Attributes)["service.name"]
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, readSpan(service, s))
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func read(r *http.Request) ([]byte, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = unzipped
	}
	var out bytes.Buffer
	_, err := io.Copy(&out, body)
	return out.Bytes(), err
}

func readSpan(service string, s *otlp.Span) *Span {
	out := &Span{
		Service: service, Name: s.Name, Kind: strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")),
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Failed: s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR,
		Start:  time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)), Attrs: attributes(s.Attributes),
	}
	for _, link := range s.Links {
		out.Links = append(out.Links, hex.EncodeToString(link.SpanId))
	}
	return out
}

func attributes(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			out[kv.Key] = fmt.Sprint(v.BoolValue)
		default:
			out[kv.Key] = kv.Value.String()
		}
	}
	return out
}

// Headers are those of the last request.
func (c *Collector) Headers() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers
}

// Spans are all spans so far, by their start.
func (c *Collector) Spans() []*Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := slices.Clone(c.spans)
	slices.SortStableFunc(spans, func(a, b *Span) int { return a.Start.Compare(b.Start) })
	return spans
}

// Wait waits for a span and answers it; ok chooses.
func (c *Collector) Wait(what string, ok func(*Span) bool) *Span {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		spans := c.Spans()
		if i := slices.IndexFunc(spans, ok); i >= 0 {
			return spans[i]
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %s; there are\n%s", what, Tree(spans))
		}
	}
}

// Tree is spans as text, each under its parent.
func Tree(spans []*Span) string {
	var out strings.Builder
	var write func(parent, indent string)
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	write = func(parent, indent string) {
		for _, s := range spans {
			if s.Parent == parent || parent == "" && !known[s.Parent] {
				fmt.Fprintf(&out, "%s%s: %s (%s) trace %s %v\n", indent, s.Service, s.Name, s.Kind, s.Trace[:8], s.Attrs)
				write(s.ID, indent+"  ")
			}
		}
	}
	write("", "")
	return out.String()
}

// Tracer is a tracer of a role into the collector that samples everything and sends at once.
func (c *Collector) Tracer(role string, change ...func(*trace.Config)) *trace.Tracer {
	c.t.Helper()
	cfg := trace.DefaultConfig()
	cfg.Role, cfg.Endpoint, cfg.Sample, cfg.SendEvery = role, c.Endpoint(), 1, 10*time.Millisecond
	for _, f := range change {
		f(&cfg)
	}
	tracer, err := trace.New(cfg, slog.New(slog.DiscardHandler), trace.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := tracer.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := tracer.Stop(ctx); err != nil {
			c.t.Error(err)
		}
	})
	return tracer
}
