package trace

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/event"
)

// MaxPerBatch bounds the traced records of one batch that get spans: a batch of the processor, of the
// outbox, of the sink. With the usual sample there are few; with a sample of 1 it bounds the work.
const MaxPerBatch = 64

// Header is the record header that says that the record is traced, and what its spans' parent is, in
// the form of W3C Trace Context. Records that are not traced have none.
func Header(sc trace.SpanContext) kgo.RecordHeader {
	return kgo.RecordHeader{Key: event.HeaderTraceparent, Value: []byte(Text(sc))}
}

// Text is a span context in the form of W3C Trace Context.
func Text(sc trace.SpanContext) string {
	var c carrier
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), sc), &c)
	return string(c)
}

// Of is the context of a traced record; invalid for others, and where tracing is off.
func (t *Tracer) Of(headers []kgo.RecordHeader) trace.SpanContext {
	if t == nil {
		return trace.SpanContext{}
	}
	for i := len(headers) - 1; i >= 0; i-- { // the edge puts it last
		if h := &headers[i]; h.Key == event.HeaderTraceparent {
			if sc := parse(h.Value); sc.IsSampled() {
				return sc
			}
			break
		}
	}
	return trace.SpanContext{}
}

// Parse reads Text's form.
func Parse(text string) trace.SpanContext { return parse([]byte(text)) }

// parse answers an invalid context for what is none, sampled or not.
func parse(traceparent []byte) trace.SpanContext {
	if len(traceparent) < minLength || len(traceparent) > maxLength {
		return trace.SpanContext{}
	}
	c := carrier(traceparent)
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), &c))
}

// What a traceparent of version 00 has, and what one of a later version may have.
const (
	minLength = 55
	maxLength = 256
)

// carrier is one traceparent. A tracestate is not carried: nothing here adds to it, and it may be
// half a kilobyte.
type carrier string

func (c *carrier) Get(key string) string {
	if key == event.HeaderTraceparent {
		return string(*c)
	}
	return ""
}

func (c *carrier) Set(key, value string) {
	if key == event.HeaderTraceparent {
		*c = carrier(value)
	}
}

func (c *carrier) Keys() []string { return []string{event.HeaderTraceparent} }
