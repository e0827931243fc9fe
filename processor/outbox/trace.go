package outbox

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// sent is the span of producing a record; nil for one that is not traced.
type sent struct{ span oteltrace.Span }

// trace begins the span of a record that carries a trace on, and has the record carry that span. What
// is in the store keeps the context it has: one that is produced again is a span of its own.
func (l *Lane) trace(r *kgo.Record) sent {
	parent := l.Tracer.Of(r.Headers)
	if !parent.IsValid() {
		return sent{}
	}
	span := l.Tracer.Child(parent, "send "+r.Topic, trace.Sending(r.Topic, true)...)
	r.Headers = slices.Clone(r.Headers)
	for i := range r.Headers {
		if r.Headers[i].Key == event.HeaderTraceparent {
			r.Headers[i] = trace.Header(span.SpanContext())
		}
	}
	return sent{span}
}

func (s sent) end(r *kgo.Record, err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		trace.Fail(s.span, "not_produced")
	} else {
		s.span.SetAttributes(trace.Partition(r.Partition), trace.Offset(r.Offset))
	}
	s.span.End()
}
