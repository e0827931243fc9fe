package sink

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// deadline is how long a test waits for what must come.
const deadline = 2 * time.Minute

var (
	tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// rig is a log, a column store with the tables, and a producer.
type rig struct {
	t        testing.TB
	conn     driver.Conn
	dsn      string
	brokers  []string
	producer *kgo.Client
}

func newRig(t testing.TB) *rig {
	t.Helper()
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	return rigOn(t, db.NativeDSN)
}

// rigOn is one on tables that are there.
func rigOn(t testing.TB, dsn string) *rig {
	t.Helper()
	conn, err := query.Open(dsn, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &rig{t: t, conn: conn, dsn: dsn}
	r.newLog()
	return r
}

// newLog is an empty log and a producer into it.
func (r *rig) newLog() {
	r.t.Helper()
	r.brokers = enginetest.Broker(r.t,
		enginetest.Topic{Name: event.TopicEvents, Partitions: 2},
		enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 1})
	var err error
	r.producer, err = kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.SnappyCompression())) // as the edge does: see spoiler
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.producer.Close)
}

// config is quick to write and to notice.
func (r *rig) config() Config {
	cfg := DefaultConfig()
	cfg.Brokers = r.brokers
	cfg.SessionTimeout = 6 * time.Second
	cfg.MinFlush, cfg.PositionInterval = 10*time.Millisecond, 50*time.Millisecond
	cfg.SmallInserts = 100
	cfg.SeenMessages = 100_000
	return cfg
}

// start runs a sink until the end of the test; options change its configuration or its insides.
func (r *rig) start(options ...func(*Sink)) *Sink {
	r.t.Helper()
	s := r.newSink(options...)
	if err := s.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) newSink(options ...func(*Sink)) *Sink {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := New(r.config(), r.servers(r.dsn), log, prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	s.pool = &spoiler{}
	for _, option := range options {
		option(s)
	}
	r.t.Cleanup(func() { r.stop(s) })
	return s
}

// servers are connections of the test's, closed after its sinks have stopped.
func (r *rig) servers(dsn string) *shard.Servers {
	r.t.Helper()
	servers, err := shard.Open(dsn, 8)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = servers.Close() })
	return servers
}

func (r *rig) stop(s *Sink) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		r.t.Errorf("stop: %v", err)
	}
}

// kill ends a sink as a crash does: nothing more is inserted or saved.
func (r *rig) kill(s *Sink) {
	s.stopAll()
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Stop(dead) // it could not finish, that is the point
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// produce appends records to the log, in order.
func (r *rig) produce(records ...*kgo.Record) {
	r.t.Helper()
	if err := r.producer.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

var received atomic.Int64

// record is an event as the edge writes it to the log; options change its headers.
func record(topic string, partition int32, value string, options ...func(*event.Meta)) *kgo.Record {
	meta := event.Meta{Tenant: tenant, ReceivedAt: noon.Add(time.Duration(received.Add(1)) * time.Microsecond)}
	for _, option := range options {
		option(&meta)
	}
	return &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value), Headers: meta.Headers()}
}

// page is a page view of a message id by a device.
func page(id, device string) string {
	return fmt.Sprintf(`{"message_id":%q,"anonymous_id":%q,"event_type":"page"}`, id, device)
}

// change is a record of keystone.changes.
func change(value string, source string, offset, sequence int) *kgo.Record {
	h := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	return &kgo.Record{Topic: event.TopicChanges, Value: []byte(value), Headers: []kgo.RecordHeader{
		h(event.HeaderSourceTopic, event.TopicEvents), h(event.HeaderSourcePartition, source),
		h(event.HeaderSourceOffset, fmt.Sprint(offset)), h(event.HeaderSequence, fmt.Sprint(sequence)),
	}}
}

// ask is the result of a query, a line for each row, values separated by a bar.
func (r *rig) ask(query string, args ...any) string {
	r.t.Helper()
	rows, err := r.conn.Query(context.Background(), query, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		values := make([]any, len(rows.Columns()))
		for i, c := range rows.ColumnTypes() {
			values[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(values...); err != nil {
			r.t.Fatalf("%s: %v", query, err)
		}
		texts := make([]string, len(values))
		for i := range values {
			texts[i] = "NULL"
			v := reflect.ValueOf(values[i]).Elem()
			for v.Kind() == reflect.Pointer && !v.IsNil() {
				v = v.Elem()
			}
			if v.Kind() != reflect.Pointer {
				texts[i] = fmt.Sprint(v)
			}
		}
		lines = append(lines, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

func (r *rig) exec(statement string) {
	r.t.Helper()
	if err := r.conn.Exec(context.Background(), statement); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
}

// want checks a query's result.
func (r *rig) want(want, query string, args ...any) {
	r.t.Helper()
	if got := r.ask(query, args...); got != want {
		r.t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
	}
}

// reach waits until the sink has saved that it is at an offset.
func (r *rig) reach(topic string, partition int32, offset int64) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s/%d at %d", topic, partition, offset), func() bool {
		all, err := query.Positions(context.Background(), r.conn)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range all {
			if p.Topic == topic && p.Partition == partition {
				return p.NextOffset >= offset
			}
		}
		return false
	})
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > deadline {
			r.t.Fatalf("waited %s for %s", deadline, what)
		}
	}
}

// noLeak checks that nothing of the test is left running. Call it first: it looks last.
func noLeak(t *testing.T) {
	t.Helper()
	enginetest.ClickHouse(t) // the shared servers run on
	enginetest.Broker(t)
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}
