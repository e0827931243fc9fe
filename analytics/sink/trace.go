package sink

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/trace"
)

// What became of a traced record, beside being inserted.
const (
	resultSkipped   = "skipped"   // it could not be read
	resultDuplicate = "duplicate" // its message is in the table already
	resultRepeated  = "repeated"  // a change that came again
)

// traces are the traced records of a lane's batch, at most trace.MaxPerBatch of them, and mostly none.
type traces struct {
	tracer *trace.Tracer // nil: off
	group  string
	tp
	records []tracedRecord
}

type tracedRecord struct {
	parent oteltrace.SpanContext
	offset int64
	taken  time.Time
}

// take looks whether a record is traced. result is empty for one that waits for the insert.
func (t *traces) take(r *kgo.Record, result string) {
	if t.tracer == nil {
		return
	}
	parent := t.tracer.Of(r.Headers)
	if !parent.IsValid() {
		return
	}
	x := tracedRecord{parent, r.Offset, time.Now()}
	switch {
	case result != "":
		span := t.process(x)
		span.SetAttributes(trace.ResultKey.String(result))
		span.End()
	case len(t.records) == trace.MaxPerBatch:
		t.tracer.LeftOut(1)
	default:
		t.records = append(t.records, x)
	}
}

// process begins the span of a record, at the time it was taken.
func (t *traces) process(x tracedRecord) oteltrace.Span {
	return t.tracer.Child(x.parent, "process "+t.topic, append(trace.Processing(t.group, t.topic, t.partition),
		oteltrace.WithTimestamp(x.taken), oteltrace.WithAttributes(trace.Offset(x.offset)))...)
}

func (t *traces) abandon() { t.records = t.records[:0] }

// flush is a batch with traced records that is being inserted; nil for one without.
type flush struct {
	tracer *trace.Tracer
	spans  []oteltrace.Span
}

// flush begins the spans of the batch's traced records and forgets the records.
func (t *traces) flush(ctx context.Context) (context.Context, *flush) {
	if len(t.records) == 0 {
		return ctx, nil
	}
	f := &flush{tracer: t.tracer}
	for _, x := range t.records {
		f.spans = append(f.spans, t.process(x))
	}
	t.abandon()
	return context.WithValue(ctx, flushKey{}, f), f
}

type flushKey struct{}

// end ends them. err is the context's: the batch was given up, and is inserted by another.
func (f *flush) end(err error) {
	if f == nil {
		return
	}
	for _, span := range f.spans {
		if err != nil {
			trace.Fail(span, "stopped")
		}
		span.End()
	}
}

// inserting begins a span for an insert under each traced record of the batch that ctx is of, and has
// ClickHouse make its own under the first of them. The answer ends them.
func inserting(ctx context.Context, table string, rows int) (context.Context, func(error)) {
	f, _ := ctx.Value(flushKey{}).(*flush)
	if f == nil {
		return ctx, func(error) {}
	}
	spans := make([]oteltrace.Span, len(f.spans))
	for i, parent := range f.spans {
		spans[i] = f.tracer.Child(parent.SpanContext(), "INSERT "+table, oteltrace.WithSpanKind(oteltrace.SpanKindClient), oteltrace.WithAttributes(
			semconv.DBSystemNameClickHouse, semconv.DBOperationName("INSERT"), semconv.DBCollectionName(table), semconv.DBOperationBatchSize(rows)))
	}
	return oteltrace.ContextWithSpanContext(ctx, spans[0].SpanContext()), func(err error) { (&flush{spans: spans}).end(err) }
}
