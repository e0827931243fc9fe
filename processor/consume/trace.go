package consume

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor/store"
)

// traced is the spans of a batch that has traced records: one for the batch, in a trace of its own and
// linked to each of those records, with its transactions under it; and one for each of those records, in
// the record's trace and linked to the batch, whose context goes with what the record changes. A batch
// without traced records has none of it.
type traced struct {
	tracer  *trace.Tracer
	batch   oteltrace.Span
	records []tracedRecord // in the order of the log
}

type tracedRecord struct {
	offset int64
	span   oteltrace.Span
}

// trace answers nil for nearly every batch, and always where tracing is off.
func (w *worker) trace(records []*kgo.Record) *traced {
	found := w.tracer.Traced(records)
	if len(found) == 0 {
		return nil
	}
	links := make([]oteltrace.Link, len(found))
	for i, x := range found {
		links[i] = oteltrace.Link{SpanContext: x.Parent, Attributes: []attribute.KeyValue{trace.Offset(x.Record.Offset)}}
	}
	name := "process " + w.topic
	t := &traced{tracer: w.tracer, records: make([]tracedRecord, len(found)),
		batch: w.tracer.Root(name, append(trace.Processing(w.cfg.Group, w.topic, w.partition), oteltrace.WithLinks(links...),
			oteltrace.WithAttributes(semconv.MessagingBatchMessageCount(len(records))))...)}
	link := oteltrace.WithLinks(oteltrace.Link{SpanContext: t.batch.SpanContext()})
	for i, x := range found {
		t.records[i] = tracedRecord{x.Record.Offset, w.tracer.Child(x.Parent, name,
			append(trace.Processing(w.cfg.Group, w.topic, w.partition), trace.Place(x.Record), link)...)}
	}
	return t
}

// mark has the traced records' events carry their spans' contexts on, to what they change.
func (t *traced) mark(items []item) {
	if t == nil {
		return
	}
	next := 0
	for i := range items {
		it := &items[i]
		if next == len(t.records) || it.record.Offset != t.records[next].offset {
			continue
		}
		if span := t.records[next].span; it.dead != nil {
			trace.Fail(span, it.dead.Reason)
		} else {
			it.event.Trace = trace.Text(span.SpanContext())
		}
		next++
	}
}

// gaveUp marks the span of a record that is a dead letter now, if it has one.
func (t *traced) gaveUp(offset int64) {
	if t == nil {
		return
	}
	for _, r := range t.records {
		if r.offset == offset {
			trace.Fail(r.span, ReasonNotApplied)
		}
	}
}

// retry notes that the batch has to wait.
func (t *traced) retry(attempt int) {
	if t != nil {
		t.batch.AddEvent("retry", oteltrace.WithAttributes(attribute.Int("keystone.attempt", attempt+1)))
	}
}

// end ends all spans of the batch.
func (t *traced) end(err error) {
	if t == nil {
		return
	}
	for _, r := range t.records {
		if err != nil {
			trace.Fail(r.span, errorKind(err))
		}
		r.span.End()
	}
	if err != nil {
		trace.Fail(t.batch, errorKind(err))
	}
	t.batch.End()
}

// transaction is one call of the store; its span is nil for a batch that is not traced.
type transaction struct{ span oteltrace.Span }

func (t *traced) transaction(records int) transaction {
	if t == nil {
		return transaction{}
	}
	return transaction{t.tracer.Child(t.batch.SpanContext(), "apply", oteltrace.WithAttributes(attribute.Int("keystone.records", records)))}
}

func (x transaction) end(out *store.Outcome, err error) {
	if x.span == nil {
		return
	}
	if err != nil {
		trace.Fail(x.span, errorKind(err))
	} else {
		x.span.SetAttributes(attribute.Int("keystone.applied", out.Applied), attribute.Int("keystone.duplicates", out.Duplicates),
			attribute.Int("keystone.merges", out.Merges), attribute.Int("keystone.retries", out.Retries))
	}
	x.span.End()
}

// errorKind is what a span may say of an error: a closed set.
func errorKind(err error) string {
	switch {
	case errors.Is(err, store.ErrFenced):
		return "fenced"
	case errors.Is(err, errStopped):
		return "stopped"
	}
	switch store.Classify(err) {
	case store.Retry:
		return "retry"
	case store.Poison:
		return "poison"
	case store.Fatal:
		return "fatal"
	}
	return "other"
}
