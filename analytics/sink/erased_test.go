package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keystone-cdp/keystone/internal/event"
)

// erase writes a tombstone as keystone erase does: of a device, and of the profile of its name.
func (r *rig) erase(device string) {
	r.t.Helper()
	id := event.NodeID(tenant, event.KindAnonymous, device)
	r.exec(fmt.Sprintf(`INSERT INTO erasures (tenant_id, erasure_id, what, id, erased_until) VALUES
('%s', '%s', 'node', '%s', '2026-11-24 00:00:00'), ('%s', '%s', 'profile', '%s', 0)`, tenant, uuid.New(), id, tenant, uuid.New(), id))
}

// The sink says that it knows of an erasure only when nothing of before can come any more: the batch that
// it had begun is in the table by then. From then on it leaves the person out, wherever they come from.
func TestErasedWhileABatchWaits(t *testing.T) {
	r := newRig(t)
	s := r.start(func(s *Sink) { s.cfg.MinFlush, s.cfg.MaxFlush = 2*time.Second, 2*time.Second })
	r.produce(record(event.TopicEvents, 0, page("1", "ann")))
	r.reach(event.TopicEvents, 0, 1)
	r.produce(record(event.TopicEvents, 0, page("2", "ann"))) // waits: the one before was written just now
	r.eventually("the event to be taken", func() bool {
		return testutil.ToFloat64(s.metrics.records.WithLabelValues(event.TopicEvents)) >= 2 || buffered(s)
	})
	r.erase("ann")
	r.eventually("the sink to know", func() bool { return r.ask("SELECT count() FROM sink_erasures WHERE erasures >= 2") != "0" })
	r.want("2", "SELECT count() FROM events WHERE anonymous_id = 'ann'")
	set, err := s.servers.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range set.All() {
		if err := conn.Exec(t.Context(), "DELETE FROM "+set.Local(tableEvents)+" WHERE anonymous_id = 'ann'"); err != nil {
			t.Fatal(err)
		}
	}

	r.produce(
		record(event.TopicEvents, 0, page("3", "ann")),
		record(event.TopicEvents, 0, `{"message_id":"4","anonymous_id":"other","previous_id":"ann","event_type":"alias"}`),
		record(event.TopicEvents, 0, page("5", "bob")),
		record(event.TopicBackfill, 0, page("6", "ann")),
		record(event.TopicEvents, 1, page("7", "ann"), func(m *event.Meta) { m.Tenant = uuid.New() }),
		record(event.TopicEvents, 1, page("8", "ann"), func(m *event.Meta) { m.ReceivedAt = noon.Add(48 * time.Hour) }),
		change(fmt.Sprintf(`{"tenant_id":"%s","profile_id":"%s","profile":{"kind":"shadow","attributes":{"a":1},"version":3},
			"identifiers":[{"kind":"anonymous","value":"ann"}],"lineage":[{"path":"/a"}],"orders":[{"order_id":"1"}],"products":[{"product_id":"p"}]}`,
			tenant, event.NodeID(tenant, event.KindAnonymous, "ann")), "0", 5, 0))
	r.reach(event.TopicEvents, 0, 5)
	r.reach(event.TopicEvents, 1, 2)
	r.reach(event.TopicBackfill, 0, 1)
	r.reach(event.TopicChanges, 0, 1)
	r.want("5\n7\n8", "SELECT message_id FROM events ORDER BY message_id")
	r.want("0|0|0|0|1", `SELECT (SELECT count() FROM profiles), (SELECT count() FROM identity_map), (SELECT count() FROM attribute_changes),
(SELECT count() FROM orders), (SELECT count() FROM products)`)
	for topic, n := range map[string]float64{event.TopicEvents: 2, event.TopicBackfill: 1, event.TopicChanges: 1} {
		if got := testutil.ToFloat64(s.metrics.erased.WithLabelValues(topic)); got != n {
			t.Errorf("%s: %g records were left out, want %g", topic, got, n)
		}
	}
}

// A sink that starts reads who was erased before it inserts anything, and has all of the log before it.
func TestErasedBeforeTheStart(t *testing.T) {
	r := newRig(t)
	r.erase("ann")
	r.produce(record(event.TopicEvents, 0, page("1", "ann")), record(event.TopicEvents, 0, page("2", "bob")))
	r.start()
	r.reach(event.TopicEvents, 0, 2)
	r.want("2", "SELECT message_id FROM events")
	r.eventually("the sink to say so", func() bool { return r.ask("SELECT max(erasures) FROM sink_erasures") == "2" })
}

func buffered(s *Sink) bool {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.used > 0
}
