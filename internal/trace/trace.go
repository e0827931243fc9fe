// Package trace makes OpenTelemetry spans of a sample of the events, from the request at the edge to
// the insert into ClickHouse, and sends them to a collector by OTLP. The edge decides which requests
// are traced; a record of theirs says so in a header (header.go), and who reads such a record makes
// spans too. All of an event's spans are one trace.
//
// A nil *Tracer is tracing that is off: it samples nothing and finds no traced records, at the cost of
// a comparison. Spans hold no payload, no identifier and no key: the place in the log and the request
// id lead to the event.
//
// It loses spans rather than slow anybody down: what the collector does not take in time is dropped
// and counted. It is not a way to count anything. Who calls Start calls Stop, after the stage that
// uses the tracer has stopped.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope names this instrumentation to who reads the spans.
const scope = "github.com/keystone-cdp/keystone"

// Tracer makes the spans of one role. Its methods are safe for concurrent use, from Start on.
type Tracer struct {
	cfg       Config
	log       *slog.Logger
	metrics   *roleMetrics
	threshold uint64 // of what is sampled
	continued allowance

	queue    *queue
	provider *sdk.TracerProvider
	spans    trace.Tracer
	stop     sync.Once
}

// New makes a tracer. It starts and connects nothing.
func New(cfg Config, log *slog.Logger, m *Metrics) (*Tracer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Tracer{
		cfg: cfg, log: log, metrics: m.of(cfg.Role), threshold: threshold(cfg.Sample),
		continued: allowance{perSecond: cfg.Continue},
	}, nil
}

// threshold is what a random number has to be below of, for this fraction of all numbers.
func threshold(fraction float64) uint64 {
	if fraction >= 1 {
		return math.MaxUint64
	}
	return uint64(fraction * (1 << 63) * 2)
}

// Start begins to send spans. The collector need not be there.
func (t *Tracer) Start(ctx context.Context) error {
	res, err := resource.New(ctx, resource.WithSchemaURL(semconv.SchemaURL), resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceNamespace("keystone"), semconv.ServiceName("keystone-"+t.cfg.Role),
		semconv.ServiceVersion(t.cfg.Version), semconv.ServiceInstanceID(t.cfg.Instance)), resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	var opts []otlptracehttp.Option
	if t.cfg.Endpoint != "" {
		opts = append(opts, otlptracehttp.WithEndpointURL(t.cfg.url()))
	}
	exporter, err := otlptrace.New(ctx, otlptracehttp.NewClient(opts...))
	if err != nil {
		return fmt.Errorf("make the exporter of spans: %w", err)
	}
	t.queue = newQueue(t.cfg, exporter, t.log, t.metrics)
	t.provider = sdk.NewTracerProvider(
		sdk.WithResource(res),
		// Whoever calls Start or Child has decided already.
		sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())),
		sdk.WithSpanProcessor(t.queue),
	)
	t.spans = t.provider.Tracer(scope, trace.WithInstrumentationVersion(t.cfg.Version), trace.WithSchemaURL(semconv.SchemaURL))
	return nil
}

// Stop sends what waits, until ctx ends. What is left then is dropped; a collector that is away is no
// error of the role.
func (t *Tracer) Stop(ctx context.Context) error {
	t.stop.Do(func() {
		if t.provider == nil {
			return
		}
		if err := t.provider.Shutdown(ctx); err != nil {
			t.log.WarnContext(ctx, "the collector has not taken the last spans", "role", t.cfg.Role)
		}
		t.queue.giveUp()
		_ = t.queue.Shutdown(ctx) // where ctx had ended before, the provider has not got so far
	})
	return nil
}

// Sample decides whether a request is traced.
func (t *Tracer) Sample() bool { return t != nil && rand.Uint64() < t.threshold }

// Continues tells whether traces that callers have begun may be continued at all.
func (t *Tracer) Continues() bool { return t != nil && t.cfg.Continue > 0 }

// Continue reads a traceparent header of a caller that is trusted to ask for a trace. The answer is
// valid if the trace is to be continued: the caller has sampled it, and not too many were in this second.
func (t *Tracer) Continue(traceparent []byte) trace.SpanContext {
	sc := parse(traceparent)
	if !t.Continues() || !sc.IsSampled() || !t.continued.take(time.Now()) {
		return trace.SpanContext{}
	}
	return sc
}

// Root begins a trace.
func (t *Tracer) Root(name string, opts ...trace.SpanStartOption) trace.Span {
	return t.Child(trace.SpanContext{}, name, opts...)
}

// Child begins a span of a trace.
func (t *Tracer) Child(parent trace.SpanContext, name string, opts ...trace.SpanStartOption) trace.Span {
	_, span := t.spans.Start(trace.ContextWithSpanContext(context.Background(), parent), name, opts...)
	return span
}

// LeftOut counts records that are traced no further because a batch has too many of them.
func (t *Tracer) LeftOut(records int) { t.metrics.leftOut.Add(float64(records)) }

// allowance lets so many through in a second.
type allowance struct {
	perSecond int
	mu        sync.Mutex
	second    int64
	taken     int
}

func (a *allowance) take(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := now.Unix(); s != a.second {
		a.second, a.taken = s, 0
	}
	a.taken++
	return a.taken <= a.perSecond
}
