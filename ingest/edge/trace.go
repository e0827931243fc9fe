package edge

import (
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// tracing is what a request knows of its trace. Nearly always that is nothing.
type tracing struct {
	began       time.Time // of a request that was sampled, or may yet be
	sampled     bool      // by us
	traceparent []byte    // the caller's, where it counts; a slice of the request
	spans       *spans    // nil: not traced
}

// spans are those of a traced request: one for the request, and one for handing its events over, which
// goes with the first of them through the pipeline. Only the first: a batch of 100 000 events is one
// sample, not 100 000.
type spans struct {
	tracer   *trace.Tracer
	request  oteltrace.Span
	send     oteltrace.Span // nil: no event was good so far
	topic    string
	followed *kgo.Record
}

var routeNames = [endpoints]string{
	endpointIngest: "/ingest", endpointBatch: "/tenant/ingest/batch", endpointSegment: "/v1/{type}", endpointJitsu: "/api/s/{type}",
}

// sample decides about a request that may bring events.
func (r *request) sample(ctx *fasthttp.RequestCtx) {
	t := r.s.deps.Tracer
	if t == nil || routeNames[r.route.endpoint] == "" {
		return
	}
	if r.trace.sampled = t.Sample(); r.trace.sampled {
		r.trace.began = time.Now()
	} else if t.Continues() {
		r.trace.traceparent = ctx.Request.Header.PeekBytes(headerTraceparent)
	}
}

var headerTraceparent = []byte("Traceparent")

// startTrace begins the spans of a request whose key is known, or will not be. Only the secret keys of
// servers may ask for a trace: a tracker key is public, and everybody could have everything traced.
func (r *request) startTrace() {
	x := &r.trace
	if !x.sampled && x.traceparent == nil || x.spans != nil {
		return
	}
	t := r.s.deps.Tracer
	var parent oteltrace.SpanContext
	if !x.sampled {
		if r.grant == nil || r.grant.Scope != key.Integration {
			return
		}
		if parent = t.Continue(x.traceparent); !parent.IsValid() {
			return
		}
		x.began = time.Now()
	}
	route := routeNames[r.route.endpoint]
	x.spans = &spans{tracer: t, topic: event.TopicEvents, request: t.Child(parent, "POST "+route, oteltrace.WithSpanKind(oteltrace.SpanKindServer),
		oteltrace.WithTimestamp(x.began), oteltrace.WithAttributes(
			semconv.HTTPRequestMethodPost, semconv.HTTPRoute(route), trace.RequestIDKey.String(string(r.requestID))))}
	if r.route.endpoint == endpointBatch {
		x.spans.topic = event.TopicBackfill
	}
	if r.grant != nil {
		x.spans.request.SetAttributes(trace.TenantKey.String(r.grant.Tenant.String()))
	}
}

// endTrace ends the request's span with the answer's status.
func (r *request) endTrace(status int) {
	r.startTrace() // of a request that was refused before its key was known
	x := r.trace.spans
	if x == nil {
		return
	}
	x.request.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= fasthttp.StatusInternalServerError {
		trace.Fail(x.request, strconv.Itoa(status))
	}
	x.request.End()
	r.trace = tracing{}
}

// follow sends the trace with a record, the first that asks. It answers the header to add, or false.
func (x *spans) follow(record *kgo.Record) (h kgo.RecordHeader, ok bool) {
	if x.send != nil {
		return h, false
	}
	x.send = x.tracer.Child(x.request.SpanContext(), "send "+x.topic, trace.Sending(x.topic, true)...)
	x.followed = record
	return trace.Header(x.send.SpanContext()), true
}

// outcome says what became of the record that the trace goes with, if it is among these.
func (x *spans) outcome(o produce.Outcome) {
	if x == nil || x.followed == nil {
		return
	}
	switch r := x.followed; {
	case slices.Contains(o.Logged, r):
		x.send.SetAttributes(trace.Partition(r.Partition), trace.Offset(r.Offset))
	case slices.Contains(o.Refused, r):
		trace.Fail(x.send, event.CodeTooLarge)
	case slices.Contains(o.Failed, r):
		trace.Fail(x.send, codeUnavailable)
	case o.Spooled > 0:
		x.send.SetAttributes(trace.SpooledKey.Bool(true))
	default:
		return
	}
	x.followed = nil
}

// sent ends the handing over of so many events.
func (x *spans) sent(accepted int) {
	if x == nil || x.send == nil {
		return
	}
	if accepted > 1 {
		x.send.SetAttributes(semconv.MessagingBatchMessageCount(accepted))
	}
	x.send.End()
}
