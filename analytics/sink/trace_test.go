package sink

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/internal/trace/tracetest"
)

// traced has a record carry a trace.
func traced(from *trace.Tracer, r *kgo.Record) oteltrace.SpanContext {
	span := from.Root("send "+r.Topic, trace.Sending(r.Topic, true)...)
	defer span.End()
	r.Headers = append(r.Headers, trace.Header(span.SpanContext()))
	return span.SpanContext()
}

func processed(parent oteltrace.SpanContext, topic string) func(*tracetest.Span) bool {
	return func(s *tracetest.Span) bool {
		return s.Parent == parent.SpanID().String() && s.Trace == parent.TraceID().String() && s.Name == "process "+topic
	}
}

// A traced record's span ends with the insert that brought it into ClickHouse; one that is not inserted
// says why.
func TestTracedRecords(t *testing.T) {
	c := tracetest.New(t)
	edge, tracer := c.Tracer("edge"), c.Tracer("sink")
	r := newRig(t)
	s := r.newSink()
	s.cfg.Tracer = tracer
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	good, again, broken := record(event.TopicEvents, 0, page("m1", "dev-1")), record(event.TopicEvents, 0, page("m1", "dev-1")), record(event.TopicEvents, 0, `{"secret`)
	changed, repeated := change(`{"tenant_id":"`+tenant.String()+`","profile_id":"`+uuid.NewString()+`","profile":{"kind":"shadow","attributes":{}}}`, "0", 1, 0), change(`{}`, "0", 1, 0)
	parents := map[*kgo.Record]oteltrace.SpanContext{}
	for _, x := range []*kgo.Record{good, again, broken, changed, repeated} {
		parents[x] = traced(edge, x)
	}
	r.produce(good, record(event.TopicEvents, 0, page("m2", "dev-2")), again, broken, changed, repeated)
	r.reach(event.TopicEvents, 0, 4)
	r.reach(event.TopicChanges, 0, 2)
	for x, result := range map[*kgo.Record]string{good: "", again: resultDuplicate, broken: resultSkipped, changed: "", repeated: resultRepeated} {
		span := c.Wait("the record's span", processed(parents[x], x.Topic))
		if span.Attrs["keystone.result"] != result || span.Kind != "consumer" || span.Attrs["messaging.consumer.group.name"] != s.cfg.Group {
			t.Errorf("%s: %+v", result, span)
		}
	}
	for x, table := range map[*kgo.Record]string{good: tableEvents, changed: tableProfiles} {
		parent := c.Wait("the record's span", processed(parents[x], x.Topic))
		c.Wait("its insert", func(s *tracetest.Span) bool {
			return s.Parent == parent.ID && s.Name == "INSERT "+table && s.Kind == "client" && s.Attrs["db.collection.name"] == table
		})
	}
	inserts := 0
	for _, span := range c.Spans() {
		if span.Attrs["db.operation.name"] != "" {
			inserts++
		}
	}
	if inserts != 2 {
		t.Errorf("%d inserts:\n%s", inserts, tracetest.Tree(c.Spans()))
	}
}

// A batch that is given up, for another process to insert, says so.
func TestTracesOfABatchGivenUp(t *testing.T) {
	c := tracetest.New(t)
	w := &traces{tracer: c.Tracer("sink"), group: "g", tp: tp{event.TopicEvents, 0}}
	r := record(event.TopicEvents, 0, page("m1", "d"))
	parent := traced(c.Tracer("edge"), r)
	w.take(r, "")
	ctx, f := w.flush(t.Context())
	_, done := inserting(ctx, tableEvents, 1)
	done(context.Canceled)
	f.end(context.Canceled)
	if span := c.Wait("the record's span", processed(parent, event.TopicEvents)); !span.Failed || span.Attrs["error.type"] != "stopped" {
		t.Errorf("%+v", span)
	}
	if _, f := w.flush(t.Context()); f != nil {
		t.Error("a batch keeps the traces of the one before")
	}
}

// However many records of a batch are traced, so many get spans.
func TestTracesOfABatchAreBounded(t *testing.T) {
	c := tracetest.New(t)
	w := &traces{tracer: c.Tracer("sink"), tp: tp{event.TopicEvents, 0}}
	r := record(event.TopicEvents, 0, page("m1", "d"))
	traced(c.Tracer("edge"), r)
	for range 3 * trace.MaxPerBatch {
		w.take(r, "")
	}
	if len(w.records) != trace.MaxPerBatch {
		t.Errorf("%d records", len(w.records))
	}
	w.abandon()
	if len(w.records) != 0 {
		t.Error("not forgotten")
	}
}
