package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// A batch of many blocks is one insert and one part: the server gathers what the sink sends in pieces.
func TestManyBlocksAreOnePart(t *testing.T) {
	enginetest.OneServer(t, "it looks at the parts of one")
	r := newRig(t)
	r.exec("SYSTEM STOP MERGES events")
	const n = 3*blockRows + 7
	records := make([]*kgo.Record, n)
	for i := range records {
		products := fmt.Sprintf(`[{"product_id":"a%d"},{"product_id":"b%d"}]`, i, i)
		if i%3 == 0 {
			products = "[]"
		}
		records[i] = record(event.TopicEvents, 0, fmt.Sprintf(`{"message_id":"m%d","anonymous_id":"d","event_type":"track","event_name":"x","payload":{"revenue":%d.5,"products":%s}}`, i, i, products))
	}
	r.produce(records...)
	s := r.start(func(s *Sink) { s.cfg.MinFlush = time.Second }) // a batch is what a second brings, however slow the machine
	r.reach(event.TopicEvents, 0, n)
	r.stop(s) // a part is there before its insert is counted
	inserts := metric(t, s.metrics.seconds.WithLabelValues(tableEvents))
	r.want(fmt.Sprint(inserts, "|1"), "SELECT count(), max(rows) > $1 FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()", blockRows)
	// Each row has its own lists and its own money, on whichever side of a block's end it is.
	r.want(fmt.Sprint(n, "|", n, "|", n), `SELECT count(), countIf(message_id = concat('m', toString(offset)) AND revenue = offset + 0.5),
		countIf(product_ids = if(offset % 3 = 0, [], [concat('a', toString(offset)), concat('b', toString(offset))])) FROM events`)
}

// An insert that breaks off after some of its blocks leaves none of them behind.
func TestHalfAnInsertIsNone(t *testing.T) {
	r := newRig(t)
	const n = 3*blockRows + 7
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = record(event.TopicEvents, 0, page(fmt.Sprint("m", i), "d"))
	}
	r.produce(records...)
	broken, left := 0, uint64(0)
	c := &faults{before: func(table string) error {
		if table != tableEvents || broken == 3 {
			return nil
		}
		broken++
		left = max(left, r.count())
		return errInjected
	}}
	r.start(r.broken(c))
	r.reach(event.TopicEvents, 0, n)
	r.want(fmt.Sprint(n, "|", n), "SELECT count(), uniqExact(message_id) FROM events")
	if broken != 3 || left != 0 {
		t.Errorf("broken off %d times, %d rows left behind", broken, left)
	}
}

// A trickle makes few parts: inserts that are not full are paced, however many partitions there are,
// so that ClickHouse can merge as fast as they come.
func TestTrickleIsPaced(t *testing.T) {
	enginetest.OneServer(t, "it looks at the parts of one")
	r := newRig(t)
	r.exec("SYSTEM STOP MERGES events")
	const perSecond = 4
	s := r.start(func(s *Sink) { s.pace = newPace(perSecond) })
	r.produce(record(event.TopicEvents, 0, page("first", "d")))
	r.reach(event.TopicEvents, 0, 1)
	begin, n := time.Now(), 0
	for ; time.Since(begin) < 3*time.Second || metric(t, s.metrics.seconds.WithLabelValues(tableEvents)) < 3; n++ {
		r.produce(record(event.TopicEvents, int32(n%2), page(fmt.Sprint("m", n), "d")), record(event.TopicBackfill, 0, page(fmt.Sprint("b", n), "d")))
	}
	r.eventually("all rows", func() bool { return r.count() == uint64(2*n+1) })
	most := int(perSecond*time.Since(begin).Seconds()) + 2
	var parts uint64
	if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()").Scan(&parts); err != nil {
		t.Fatal(err)
	}
	if int(parts) > most || parts < 3 {
		t.Errorf("%d parts of %d events, want at most %d", parts, 2*n+1, most)
	}
}

// A server that takes no more parts is one more reason to wait: nothing is lost, nothing is there twice,
// and it goes on when the merges have caught up.
func TestTooManyPartsIsALag(t *testing.T) {
	enginetest.OneServer(t, "it has one with few")
	r := newRig(t)
	s := r.start()
	r.produce(record(event.TopicEvents, 0, page("first", "d")))
	r.reach(event.TopicEvents, 0, 1)
	r.exec("SYSTEM STOP MERGES events")
	r.exec("ALTER TABLE events MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 2, max_delay_to_insert = 1")
	const n = 200
	for i := range n {
		r.produce(record(event.TopicEvents, int32(i%2), page(fmt.Sprint("m", i), "d")))
	}
	r.eventually("a refusal", func() bool {
		return testutil.ToFloat64(s.metrics.failures.WithLabelValues(tableEvents)) > 0 && s.Ready(t.Context()) != nil
	})
	r.exec("ALTER TABLE events RESET SETTING parts_to_delay_insert, parts_to_throw_insert, max_delay_to_insert")
	r.exec("SYSTEM START MERGES events")
	r.reach(event.TopicEvents, 0, n/2+1)
	r.reach(event.TopicEvents, 1, n/2)
	r.want(fmt.Sprint(n+1, "|", n+1), "SELECT count(), uniqExact(message_id) FROM events")
	r.eventually("readiness", func() bool { return s.Ready(t.Context()) == nil })
}

// metric is how often a histogram observed something.
func metric(t *testing.T, o prometheus.Observer) uint64 {
	t.Helper()
	var m dto.Metric
	if err := o.(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount()
}
