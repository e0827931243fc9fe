package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
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

	// Nothing is missing from the books, which a sink writes after the rows.
	r.stop(again)
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

// The two copies of a message may be two processes': the second finds the first one's in the table, also
// when it was there before that; and of two that are taken at the same moment one is taken out again.
func TestDuplicatesAcrossProcesses(t *testing.T) {
	r := newRig(t)
	first := r.start()
	next := map[tp]int64{}
	send := func(at tp, ids ...string) {
		t.Helper()
		for _, id := range ids {
			r.produce(record(at.topic, at.partition, page(id, "d")))
			next[at]++
		}
	}
	all := []tp{{event.TopicEvents, 0}, {event.TopicEvents, 1}, {event.TopicBackfill, 0}}
	done := func() {
		t.Helper()
		for at, offset := range next {
			r.reach(at.topic, at.partition, offset)
		}
	}
	for _, at := range all {
		send(at, "before "+at.String())
	}
	done()
	second := r.start()
	// Each has some of the partitions; which, the group decides.
	partitionOf := func(s *Sink) (found tp) {
		for _, l := range s.lanesNow() {
			if l.topic != event.TopicChanges {
				found = l.tp
			}
		}
		return found
	}
	r.eventually("partitions for each", func() bool {
		return partitionOf(first) != tp{} && partitionOf(second) != tp{} && len(second.lanesNow()) > 1
	})
	a, b := partitionOf(first), partitionOf(second)
	send(b, "before "+a.String())
	send(a, "before "+b.String(), "later")
	done()
	later := hashOf(message{tenant, "later"})
	r.eventually("the news of it", func() bool { return second.messages.has(later) })
	send(b, "later")
	done()
	r.eventually("one of each", func() bool { return r.ask("SELECT count(), uniqExact(message_id) FROM events") == "4|4" })
	const n = 20
	for i := range n {
		send(a, fmt.Sprint("both", i))
		send(b, fmt.Sprint("both", i))
	}
	done()
	r.eventually("one of each", func() bool {
		return r.ask("SELECT count(), uniqExact(message_id) FROM events") == fmt.Sprint(4+n, "|", 4+n)
	})
}

// A copy that was taken out of events is left out by what asks the rollups, which have counted it.
func TestRollupsLeaveCopiesOut(t *testing.T) {
	r := newRig(t)
	set, device := r.twice(), node("anonymous", "d")
	if err := set.All()[0].Exec(t.Context(), `INSERT INTO `+set.Local(tableOrders)+` (tenant_id, order_id, profile_id, status, completed_at, total, version)
VALUES ($1, 'o', $2, 'completed', $3, 10, 1)`, tenant, device, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	views := `SELECT sum(views) FROM page_views(tenant = '` + tenant.String() + `', since = '2026-11-23 00:00:00', until = '2026-11-24 00:00:00')`
	weights := `SELECT min(weight) FROM attributed_orders(tenant = '` + tenant.String() + `', since = '2026-11-23 00:00:00', until = '2026-11-24 00:00:00',
	model = 'linear', lookback_days = 1, half_life_days = 1)`
	r.want("3", views)
	r.want(fmt.Sprint(1./3), weights)
	s := r.newSink()
	s.others.now = func() time.Time { return noon }
	s.messages.remember(noon, []uint64{hashOf(message{tenant, "twice"})})
	for range 2 { // who was stopped does it again
		if err := s.others.follow(t.Context(), tp{event.TopicEvents, 1}, 0); err != nil {
			t.Fatal(err)
		}
		r.want("4|once\n5|twice", "SELECT offset, message_id FROM events ORDER BY offset")
		r.want("2", views)
		r.want("0.5", weights)
	}
}

// twice puts a message into the table that is there once, and one that two processes have taken.
func (r *rig) twice() *shard.Set {
	r.t.Helper()
	return r.put(logged{"once", 0, 4}, logged{"twice", 0, 5}, logged{"twice", 1, 9})
}

// logged is where in the log a message was.
type logged struct {
	message   string
	partition int32
	offset    int64
}

func (r *rig) put(rows ...logged) *shard.Set {
	r.t.Helper()
	set, err := r.servers(r.dsn).Get(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows {
		r.putOn(set.Of(row.partition), set, row)
	}
	return set
}

func (r *rig) putOn(conn driver.Conn, set *shard.Set, row logged) {
	r.t.Helper()
	at := noon.Add(time.Duration(row.offset) * time.Millisecond)
	if err := conn.Exec(r.t.Context(), `INSERT INTO `+set.Local(tableEvents)+` (tenant_id, message_id, event_type, profile_node, timestamp, received_at, host, path, utm_campaign, topic, partition, offset, loaded_at)
VALUES ($1, $2, 'page', $3, $4, $4, 'shop.example', '/', 'fall', $5, $6, $7, $4)`, tenant, row.message, node("anonymous", "d"), at, event.TopicEvents, row.partition, row.offset); err != nil {
		r.t.Fatal(err)
	}
}

// note notes a copy down where its row is.
func (r *rig) note(conn driver.Conn, set *shard.Set, partition int32, offset int64) {
	r.t.Helper()
	if err := conn.Exec(r.t.Context(), `INSERT INTO `+set.Local(tableRemovedCopies)+` (tenant_id, day, topic, partition, offset)
VALUES ($1, $2, $3, $4, $5)`, tenant, noon, event.TopicEvents, partition, offset); err != nil {
		r.t.Fatal(err)
	}
}

// A process that has noted a copy down may die before it has taken it out. Whoever comes next does; but a note
// alone takes nothing out: of another log, it names the place of another event.
func TestNotedCopiesAreTakenOut(t *testing.T) {
	r := newRig(t)
	set := r.twice()
	r.put(logged{"", 0, 6}, logged{"", 0, 7}, logged{"", 1, 11})
	for _, note := range []struct {
		partition int32
		offset    int64
	}{{0, 4}, {0, 7}, {1, 9}, {1, 10}, {1, 11}} {
		r.note(set.Of(note.partition), set, note.partition, note.offset)
	}
	s := r.newSink()
	s.others.now = func() time.Time { return noon }
	for _, partition := range []int32{0, 1} {
		if err := s.others.remember(t.Context(), tp{event.TopicEvents, partition}); err != nil {
			t.Fatal(err)
		}
	}
	r.want("4|once\n5|twice\n6|\n7|\n11|", "SELECT offset, message_id FROM events ORDER BY offset")
	if got := testutil.ToFloat64(s.metrics.settled); got != 1 {
		t.Errorf("%v copies were taken out", got)
	}
}

// Shards may have been added since it was noted down: then the partition is another shard's, and its older rows are
// where they were.
func TestNotedCopiesOfAnotherShard(t *testing.T) {
	if enginetest.ClickHouseCluster() == "" {
		t.Skip("a part of make test-shards, which runs the other tests on shards as well")
	}
	r := newRig(t)
	set := r.put(logged{"once", 0, 4}, logged{"twice", 0, 5}, logged{"new", 1, 12})
	before := set.First() // whose partition 1 was
	r.putOn(before, set, logged{"twice", 1, 9})
	r.note(before, set, 1, 9)
	s := r.newSink()
	s.others.now = func() time.Time { return noon }
	if err := s.others.remember(t.Context(), tp{event.TopicEvents, 1}); err != nil {
		t.Fatal(err)
	}
	r.want("4|once\n5|twice\n12|new", "SELECT offset, message_id FROM events ORDER BY offset")
	if got := testutil.ToFloat64(s.metrics.settled); got != 1 {
		t.Errorf("%v copies were taken out", got)
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
