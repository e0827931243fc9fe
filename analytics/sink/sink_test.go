package sink

import (
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestEventsBecomeRows(t *testing.T) {
	noLeak(t)
	r := newRig(t)
	s := r.start()
	r.produce(
		record(event.TopicEvents, 0, page("m1", "dev-1")),
		record(event.TopicEvents, 1, page("m2", "dev-2")),
		record(event.TopicBackfill, 0, page("m3", "dev-3")))
	r.reach(event.TopicEvents, 0, 1)
	r.reach(event.TopicEvents, 1, 1)
	r.reach(event.TopicBackfill, 0, 1)
	r.want("m1|dev-1|keystone.events|0|0\nm2|dev-2|keystone.events|1|0\nm3|dev-3|keystone.backfill|0|0",
		"SELECT message_id, anonymous_id, topic, partition, offset FROM events ORDER BY 1")
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	r.stop(s)
	r.stop(s) // again does nothing
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready after stop")
	}
}

func TestEveryColumnArrives(t *testing.T) {
	r := newRig(t)
	r.start()
	value := `{"message_id":"m\u0000\ud83d\ude00","anonymous_id":"dev","identity":"Ann@example.com","event_type":"track","event_name":"Order Completed",
		"payload":{"order_id":"O-1","revenue":1234567890123.123456789,"currency":"eur","products":[{"product_id":"P-1"},{"sku":"P-2"}],"n":9007199254740993},
		"timestamp":"2024-02-29T23:59:59.999Z","extra":[1],
		"context":{"page":{"url":"https://shop.example/a?utm_source=s&gclid=g","referrer":"https://r.example/","title":"T"},"user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15","locale":"fr-FR","library":{"name":"lib","version":"9"}}}`
	r.produce(record(event.TopicEvents, 1, value, func(m *event.Meta) {
		m.ReceivedAt = time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
		m.IdentityNode, m.KeyID, m.RequestID, m.JobID, m.IP = node("email", "ann@example.com"), "k", "r", "j", "2001:db8::1"
	}))
	r.reach(event.TopicEvents, 1, 1)
	r.want("m\x00😀|track|Order Completed|"+node("anonymous", "dev").String()+"|"+node("email", "ann@example.com").String()+"|dev|Ann@example.com",
		"SELECT message_id, event_type, event_name, profile_node, identity_node, anonymous_id, identity FROM events")
	r.want("2024-02-29 23:59:59.999|2026-11-23 10:00:00.123456", "SELECT toString(timestamp), toString(received_at) FROM events")
	r.want("https://shop.example/a?utm_source=s&gclid=g|shop.example|/a|T|https://r.example/|r.example|s|g",
		"SELECT url, host, path, page_title, referrer, referring_domain, utm_source, gclid FROM events")
	r.want("Safari|18.1|macOS|10.15.7|desktop|fr-FR|2001:db8::1|lib|9|k|r|j",
		"SELECT browser, browser_version, os, os_version, device_class, locale, ip, library_name, library_version, key_id, request_id, job_id FROM events")
	r.want("O-1|[P-1 P-2]|1234567890123.123456789|EUR", "SELECT order_id, product_ids, toString(revenue), currency FROM events")
	r.want(`{"extra":[1]}|9007199254740993|P-1|T`,
		"SELECT extra, toString(payload_json.n), JSONExtractString(payload, 'products', 1, 'product_id'), context_json.page.title.:String FROM events")
	r.want("1", "SELECT count() FROM events WHERE position(payload, '\"n\":9007199254740993}') > 0 AND loaded_at >= now() - 60")
}

// One record nobody can read costs nobody else anything.
func TestPoisonIsSkipped(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(
		record(event.TopicEvents, 0, page("m1", "d")),
		record(event.TopicEvents, 0, `{"broken`),
		&kgo.Record{Topic: event.TopicEvents, Value: []byte(page("m2", "d"))}, // no headers
		record(event.TopicEvents, 0, page("m3", "d")),
		record(event.TopicEvents, 0, `null`),
		&kgo.Record{Topic: event.TopicChanges, Value: []byte(`{}`)},
		change(`[]`, "0", 1, 0))
	r.reach(event.TopicEvents, 0, 5)
	r.reach(event.TopicChanges, 0, 2)
	r.want("m1|0\nm3|3", "SELECT message_id, offset FROM events ORDER BY offset")
	if n := testutil.ToFloat64(s.metrics.poison.WithLabelValues(event.TopicEvents)); n != 3 {
		t.Errorf("%v poison events", n)
	}
	if n := testutil.ToFloat64(s.metrics.poison.WithLabelValues(event.TopicChanges)); n != 2 {
		t.Errorf("%v poison changes", n)
	}
}

// What JSON cannot carry on to ClickHouse as it is does not hurt its neighbours (acceptance 3, 3a).
func TestHostileTextArrives(t *testing.T) {
	r := newRig(t)
	r.start()
	r.produce(
		record(event.TopicEvents, 0, `{"message_id":"1","event_type":"track","event_name":"\ud800","payload":{"a":"\ud800","b":"\u0000"}}`),
		record(event.TopicEvents, 0, `{"message_id":"2","event_type":"page","payload":{"a":1,"a":2,"":1e999}}`),
		record(event.TopicEvents, 0, page("3", "d")))
	r.reach(event.TopicEvents, 0, 3)
	r.want("1|\ufffd|{\"a\":\"\ufffd\",\"b\":\"\\u0000\"}\n2||{}\n3||{}", "SELECT message_id, event_name, toString(payload_json) FROM events ORDER BY message_id")
	r.want("1", `SELECT count() FROM events WHERE payload = '{"a":1,"a":2,"":1e999}'`)
}

// A backfill of many months is one part in one partition, and so is every insert as a month ends.
func TestOneInsertTouchesOnePartition(t *testing.T) {
	r := newRig(t)
	newYear := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	var clock atomic.Int64 // microseconds since 1970; every look moves it on
	clock.Store(newYear.AddDate(0, 0, -10).UnixMicro())
	s := r.start(func(s *Sink) {
		s.now = func() time.Time { return time.UnixMicro(clock.Add(20_000)).UTC() }
	})
	views := func(prefix string) (records []*kgo.Record) {
		for month := range 36 {
			value := fmt.Sprintf(`{"message_id":"%s%d","anonymous_id":"d","event_type":"page","timestamp":%q}`, prefix, month, noon.AddDate(0, -month, 0).Format(time.RFC3339))
			records = append(records, record(event.TopicBackfill, 0, value, func(m *event.Meta) {
				m.ReceivedAt = newYear.AddDate(0, 0, month-18) // of two months, as a batch may be
			}))
		}
		return records
	}
	r.produce(views("h")...)
	r.reach(event.TopicBackfill, 0, 36)
	r.want("36|36|1", "SELECT count(), uniqExact(toYYYYMM(timestamp)), uniqExact(_partition_id) FROM events")
	clock.Store(newYear.UnixMicro() - 30_000)
	for i := range 10 {
		r.produce(views(fmt.Sprint("n", i, "-"))...)
		if i == 4 { // so that there are two inserts, however slow the sink is: the clock is beyond the year's end by then
			r.reach(event.TopicBackfill, 0, 6*36)
		}
	}
	r.reach(event.TopicBackfill, 0, 11*36)
	r.want("396|2", "SELECT count(), uniqExact(_partition_id) FROM events")
	r.want("", "SELECT loaded_at FROM events GROUP BY loaded_at HAVING uniqExact(_partition_id) > 1") // one load time is one insert
	if n := testutil.CollectAndCount(s.metrics.seconds); n == 0 {
		t.Error("no insert was timed")
	}
}

// What a stopping sink has taken is in the table when it is gone, and the next one goes on there.
func TestStopFlushes(t *testing.T) {
	r := newRig(t)
	slow := func(s *Sink) { s.cfg.MinFlush, s.cfg.MaxFlush = time.Hour, time.Hour }
	s := r.newSink(slow, func(s *Sink) { s.cfg.PositionInterval = time.Hour })
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.produce(record(event.TopicEvents, 0, page("m1", "d"))) // written at once: the first after a silence
	r.eventually("the first row", func() bool { return r.count() == 1 })
	r.produce(record(event.TopicEvents, 0, page("m2", "d")))
	r.eventually("the second record", func() bool {
		return testutil.ToFloat64(s.metrics.records.WithLabelValues(event.TopicEvents)) == 2
	})
	r.want("m1", "SELECT message_id FROM events")
	r.stop(s)
	r.want("m1\nm2", "SELECT message_id FROM events ORDER BY 1")
	r.want("2", "SELECT next_offset FROM sink_positions FINAL WHERE topic = 'keystone.events' AND partition = 0")
	if n := testutil.ToFloat64(s.metrics.buffered); n != 0 {
		t.Errorf("%v bytes still counted", n)
	}
}

// The group hears how far the sink is, so that any lag tool can tell: while it runs, and when it stops.
func TestGroupIsTold(t *testing.T) {
	r := newRig(t)
	told := func(want int64) func() bool {
		return func() bool {
			offsets, err := kadm.NewClient(r.producer).FetchOffsets(t.Context(), DefaultConfig().Group)
			o, ok := offsets.Lookup(event.TopicEvents, 0)
			return err == nil && ok && o.At == want
		}
	}
	s := r.start()
	r.produce(record(event.TopicEvents, 0, page("m1", "d")))
	r.eventually("a committed offset", told(1))
	r.stop(s)

	s = r.start(func(s *Sink) { s.cfg.PositionInterval = time.Hour })
	r.produce(record(event.TopicEvents, 0, page("m2", "d")))
	r.eventually("the row", func() bool { return r.count() == 2 })
	r.stop(s)
	if !told(2)() {
		t.Error("a sink that stopped left the group behind")
	}
}

// A sink that died after an insert and before it saved where it was: the next one finds the rows, and
// says so, though nothing new comes.
func TestPositionIsSavedAfterACrash(t *testing.T) {
	r := newRig(t)
	s := r.start(func(s *Sink) { s.cfg.PositionInterval = time.Hour })
	r.produce(record(event.TopicEvents, 0, page("m1", "d")))
	r.eventually("the row", func() bool { return r.count() == 1 })
	r.kill(s)
	r.want("0", "SELECT count() FROM sink_positions WHERE next_offset > 0")
	r.start()
	r.reach(event.TopicEvents, 0, 1)
}

// ClickHouse away is a lag, not a loss, and not memory either.
func TestClickHouseAway(t *testing.T) {
	enginetest.OneServer(t, "the proxy is before one")
	noLeak(t)
	r := newRig(t)
	address, err := url.Parse(r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, address.Host)
	address.Host = p.Addr().String()
	const limit = 256 << 10
	s := r.start(through(r.servers(address.String())), func(s *Sink) {
		s.cfg.BufferBytes, s.cfg.FetchBytes = limit, limit/64 // what is fetched is compressed, what is held is not
		s.budget.limit = limit
	})
	r.produce(record(event.TopicEvents, 0, page("first", "d")))
	r.reach(event.TopicEvents, 0, 1)

	p.cut(true)
	const n = 3000
	for from := 0; from < n; from += 50 { // in many batches, as one is fetched whole
		var records []*kgo.Record
		for i := range 50 {
			records = append(records, record(event.TopicEvents, int32(i%2), page(fmt.Sprint("m", from+i), "d")))
		}
		r.produce(records...)
	}
	r.eventually("a failure", func() bool { return s.Ready(t.Context()) != nil })
	r.eventually("a full buffer", s.budget.full)
	r.want("1", "SELECT count() FROM events")
	p.cut(false)
	r.eventually("all rows", func() bool {
		if used := testutil.ToFloat64(s.metrics.buffered); used > 2*limit {
			t.Fatalf("%v bytes in memory, the limit is %d and what one fetch brings", used, limit)
		}
		return r.count() == n+1
	})
	// Cut while it works: what was under way is done again, and is not there twice.
	p.cut(false)
	r.produce(record(event.TopicEvents, 0, page("last", "d")))
	r.reach(event.TopicEvents, 0, n/2+2)
	r.want(fmt.Sprint(n+2, "|", n+2), "SELECT count(), uniqExact(message_id) FROM events")
	r.eventually("readiness", func() bool { return s.Ready(t.Context()) == nil })
}

// An insert whose answer was lost is repeated with the same token, and is in the table once.
func TestLostAnswer(t *testing.T) {
	r := newRig(t)
	lost := map[string]int{}
	c := &faults{after: func(table string) error {
		if lost[table]++; lost[table] <= 2 {
			return errInjected
		}
		return nil
	}}
	r.start(r.broken(c))
	r.produce(record(event.TopicEvents, 0, page("m1", "d")), record(event.TopicEvents, 0, page("m2", "d")),
		change(changeOf(1), "0", 1, 0))
	r.reach(event.TopicEvents, 0, 2)
	r.reach(event.TopicChanges, 0, 1)
	r.want("m1\nm2", "SELECT message_id FROM events ORDER BY 1")
	r.want("2|1", "SELECT (SELECT count() FROM attribute_changes), (SELECT count() FROM profile_merges)")
}

// Partitions that move between processes take nothing along and leave nothing behind.
func TestRebalance(t *testing.T) {
	noLeak(t)
	r := newRig(t)
	first := r.start()
	const n = 300
	send := func(from int) {
		for i := from; i < from+n; i++ {
			r.produce(record(event.TopicEvents, int32(i%2), page(fmt.Sprint("m", i), "d")))
		}
	}
	send(0)
	second := r.start()
	send(n)
	r.eventually("a partition for the second", func() bool { return len(second.lanesNow()) > 0 })
	send(2 * n)
	r.stop(first)
	send(3 * n)
	r.reach(event.TopicEvents, 0, 2*n)
	r.reach(event.TopicEvents, 1, 2*n)
	r.want(fmt.Sprintf("%d|%d|%d", 4*n, 4*n, 2*n), "SELECT count(), uniqExact(message_id), max(offset) + 1 FROM events")
}

// A log that was made anew under tables that know the old one is read from its start; what the old
// one had at the same offsets hides nothing.
func TestAnotherLog(t *testing.T) {
	r := newRig(t)
	s := r.start()
	for i := range 5 {
		r.produce(record(event.TopicEvents, 0, page(fmt.Sprint("old", i), "d")), change(changeOf(i), "0", 100+i, 0))
	}
	r.reach(event.TopicEvents, 0, 5)
	r.reach(event.TopicChanges, 0, 5)
	r.stop(s)

	r.newLog()
	r.produce(record(event.TopicEvents, 0, page("new", "d")), record(event.TopicEvents, 0, page("old0", "d")), change(changeOf(9), "0", 1, 0))
	s = r.start()
	r.eventually("the new log's events", func() bool { return r.count() == 6 })
	r.eventually("the new log's changes", func() bool { return r.ask("SELECT count() FROM profile_merges") == "6" })
	r.stop(s)
	r.want("new|0", "SELECT message_id, offset FROM events WHERE message_id NOT LIKE 'old%'")
	r.want("1", "SELECT count() FROM events WHERE message_id = 'old0'")

	r.start() // knows the new log from the old one
	r.produce(change(changeOf(10), "0", 2, 0), record(event.TopicEvents, 0, page("newer", "d")))
	r.reach(event.TopicEvents, 0, 3)
	r.reach(event.TopicChanges, 0, 2)
	r.want("7|1", "SELECT count(), countIf(partition = 0 AND offset = 2 AND message_id = 'newer') FROM events")
	r.want("7", "SELECT count() FROM profile_merges")
}

// Where to go on is read only when nobody is still writing.
func TestStartWaitsForRunningInserts(t *testing.T) {
	enginetest.OneServer(t, "the insert is one of its own")
	r := newRig(t)
	at := tp{event.TopicEvents, 0}
	running := make(chan error)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithQueryID(queryPrefix(at)+"0-1/events"))
	go func() {
		running <- r.conn.Exec(ctx, "INSERT INTO events (tenant_id, message_id, topic, partition, offset) SELECT toUUID('"+tenant.String()+"'), 'late', 'keystone.events', 0, 41 + sleep(3)")
	}()
	r.eventually("the other's insert", func() bool {
		return r.ask("SELECT count() FROM system.processes WHERE startsWith(query_id, $1)", queryPrefix(at)) == "1"
	})
	from, err := readStart(t.Context(), r.servers(r.dsn), at)
	if err != nil || from.next != 42 {
		t.Errorf("start at %d, %v; want 42", from.next, err)
	}
	if err := <-running; err != nil {
		t.Error(err)
	}
}
