package consume

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/internal/trace/tracetest"
)

// carry has records carry traces, as the edge does; it answers their contexts.
func carry(from *trace.Tracer, records ...*kgo.Record) (sent []oteltrace.SpanContext) {
	for _, r := range records {
		span := from.Root("send "+r.Topic, trace.Sending(r.Topic, true)...)
		r.Headers = append(r.Headers, trace.Header(span.SpanContext()))
		sent = append(sent, span.SpanContext())
		span.End()
	}
	return sent
}

func childOf(parent oteltrace.SpanContext, name string) func(*tracetest.Span) bool {
	return func(s *tracetest.Span) bool {
		return s.Parent == parent.SpanID().String() && s.Trace == parent.TraceID().String() && s.Name == name
	}
}

// In a batch of many records the traced ones have spans of their own, in their own traces; the others
// have nothing, and what they change carries no trace.
func TestTracedRecordsOfABatch(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, 1)
	r.tracer = c.Tracer("processor")
	records := make([]*kgo.Record, 10)
	for i := range records {
		records[i] = r.record(event.TopicEvents, 0, r.page(i, fmt.Sprint("d", i)))
	}
	records[7].Value = []byte(`{"event_type":"page","secret-value`)
	sent := carry(c.Tracer("edge"), records[3], records[7])
	r.send(records...)
	r.start(nil, nil)
	r.at(event.TopicEvents, 0, 10)

	good := c.Wait("the good record's span", childOf(sent[0], "process keystone.events"))
	bad := c.Wait("the bad record's span", childOf(sent[1], "process keystone.events"))
	if good.Failed || good.Attrs["messaging.kafka.offset"] != "3" || good.Attrs["messaging.consumer.group.name"] != DefaultConfig().Group {
		t.Errorf("%+v", good)
	}
	if !bad.Failed || bad.Attrs["error.type"] != ReasonInvalidEvent || !slices.Equal(bad.Links, good.Links) {
		t.Errorf("%+v", bad)
	}
	batch := c.Wait("the batch", func(s *tracetest.Span) bool { return s.ID == good.Links[0] })
	if want := []string{sent[0].SpanID().String(), sent[1].SpanID().String()}; !slices.Equal(batch.Links, want) || batch.Attrs["messaging.batch.message_count"] != "10" || batch.Parent != "" {
		t.Errorf("%+v", batch)
	}
	change := c.Wait("the change's span", func(s *tracetest.Span) bool { return s.Parent == good.ID && s.Name == "send keystone.changes" })
	dead := c.Wait("the dead letter's span", childOf(sent[1], "send keystone.dlq"))
	for topic, want := range map[string]*tracetest.Span{event.TopicChanges: change, event.TopicDLQ: dead} {
		var carried []string
		for _, record := range r.read(topic) {
			if h := header(record, event.HeaderTraceparent); h != "" {
				carried = append(carried, h)
			}
		}
		if !slices.Equal(carried, []string{"00-" + want.Trace + "-" + want.ID + "-01"}) {
			t.Errorf("%s carries %v, and not %s", topic, carried, want.ID)
		}
	}
	if text := tracetest.Tree(c.Spans()); strings.Contains(text, "secret") || strings.Contains(text, r.tenant.String()) {
		t.Errorf("the spans tell more than they should:\n%s", text)
	}
}

// A trace goes on over a crash: it is with the batch in the outbox.
func TestTraceSurvivesACrash(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, 1)
	record := r.record(event.TopicEvents, 0, r.page(1, "a"))
	sent := carry(c.Tracer("edge"), record)
	r.send(record)
	r.tracer = c.Tracer("processor")
	r.crash(1) // after the commit, before producing
	r.start(nil, nil)
	c.Wait("the change, produced by the next process", childOf(sent[0], "send keystone.changes"))
}

// Without a tracer a traced record is one like others, and its trace ends.
func TestTracedRecordsWhereTracesAreOff(t *testing.T) {
	c := tracetest.New(t)
	r := newRig(t, 1)
	record := r.record(event.TopicEvents, 0, r.page(1, "a"))
	carry(c.Tracer("edge"), record)
	r.send(record)
	r.start(nil, nil)
	r.at(event.TopicEvents, 0, 1)
	for _, record := range r.read(event.TopicChanges) {
		if h := header(record, event.HeaderTraceparent); h != "" {
			t.Errorf("carries %s", h)
		}
	}
}
