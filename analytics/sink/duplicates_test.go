package sink

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// A client's retry that reached the log is in the table once, wherever the two copies are.
func TestDuplicatesAreRemoved(t *testing.T) {
	r := newRig(t)
	s := r.start()
	at := func(id, timestamp string) string {
		return fmt.Sprintf(`{"message_id":%q,"anonymous_id":"d","event_type":"page","timestamp":%q}`, id, timestamp)
	}
	const t1, t2 = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"
	r.produce( // in one batch, and in two lanes
		record(event.TopicEvents, 0, at("batch", t1)), record(event.TopicEvents, 0, at("batch", t1)),
		record(event.TopicEvents, 1, at("lanes", t1)), record(event.TopicBackfill, 0, at("lanes", t1)))
	r.reach(event.TopicEvents, 0, 2)
	r.reach(event.TopicEvents, 1, 1)
	r.reach(event.TopicBackfill, 0, 1)
	r.produce( // from an earlier batch, as it was and with another time
		record(event.TopicEvents, 0, at("batch", t1)), record(event.TopicEvents, 1, at("lanes", t2)), record(event.TopicEvents, 1, at("new", t1)))
	r.reach(event.TopicEvents, 0, 3)
	r.reach(event.TopicEvents, 1, 3)
	r.want("batch|1\nlanes|1\nnew|1", "SELECT message_id, count() FROM events GROUP BY 1 ORDER BY 1")
	r.stop(s)

	again := r.start() // it learns from the table
	other := func(m *event.Meta) { m.Tenant = node("anonymous", "another tenant") }
	r.produce(
		record(event.TopicEvents, 0, at("batch", t2)), record(event.TopicEvents, 0, at("new", t1)),
		record(event.TopicEvents, 0, at("new", t1), other), record(event.TopicEvents, 0, at("newer", t1)))
	r.reach(event.TopicEvents, 0, 7)
	r.want("batch|1\nlanes|1\nnew|2\nnewer|1", "SELECT message_id, count() FROM events GROUP BY 1 ORDER BY 1")

	// Nothing is missing from the books.
	for _, s := range []*Sink{s, again} {
		var records, poison float64
		for _, topic := range []string{event.TopicEvents, event.TopicBackfill} {
			records += testutil.ToFloat64(s.metrics.records.WithLabelValues(topic))
			poison += testutil.ToFloat64(s.metrics.poison.WithLabelValues(topic))
		}
		rows, duplicates := testutil.ToFloat64(s.metrics.rows.WithLabelValues(tableEvents)), testutil.ToFloat64(s.metrics.duplicates)
		if records != rows+poison+duplicates {
			t.Errorf("%v records, but %v rows, %v poison, %v duplicates", records, rows, poison, duplicates)
		}
	}
}

// A hash that is known by mistake costs a look at the table, never an event.
func TestFalseAlarmLosesNothing(t *testing.T) {
	r := newRig(t)
	var s *Sink
	const n = maxSuspects + 500
	s = r.start(func(s *Sink) {
		for i := range n {
			s.messages.remember(noon, []uint64{hashOf(message{tenant, fmt.Sprint("m", i)})})
		}
	})
	var records []*kgo.Record
	for i := range n {
		records = append(records, record(event.TopicEvents, 0, page(fmt.Sprint("m", i), "d")))
	}
	r.produce(records...)
	r.reach(event.TopicEvents, 0, n)
	r.want(fmt.Sprint(n, "|", n), "SELECT count(), uniqExact(message_id) FROM events")
	if got := testutil.ToFloat64(s.metrics.suspects.WithLabelValues("new")); got != n {
		t.Errorf("%v suspects were new, want %d", got, n)
	}
}

// Events without any message id (no edge of ours sends them) are all kept.
func TestNoMessageIDIsNoDuplicate(t *testing.T) {
	r := newRig(t)
	r.start()
	for range 3 {
		r.produce(record(event.TopicEvents, 0, `{"anonymous_id":"d","event_type":"page"}`))
	}
	r.reach(event.TopicEvents, 0, 3)
	r.want("3", "SELECT count() FROM events WHERE message_id = ''")
}
