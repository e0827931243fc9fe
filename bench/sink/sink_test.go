// Package sink_test measures the sink as a stage: from a log full of events to the rows in
// ClickHouse, all on one machine.
package sink_test

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/feed"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// events is how many one round brings into the table: three full batches of each partition, and some seconds of work.
const events = 600_000

// warmUp is how many rounds are not counted: the pools fill, and the engine's caches.
const warmUp = 1

// BenchmarkSink is rows of table events per second, and whose processor time a row takes: the sink's own
// process (fetch, decode, enrich, encode, send), the engine's, the broker's. All three are processes
// of their own, on the same cores.
func BenchmarkSink(b *testing.B) {
	log := startLog(b)
	dsn := enginetest.ClickHouse(b).NativeDSN
	schematest.Migrate(b, dsn)
	r := &bench{B: b, dsn: dsn, log: log, count: counter(b, dsn), tenant: uuid.New()}
	var sum cost
	for round := range warmUp + b.N {
		if c := r.round(uint64(round + 1)); round >= warmUp {
			sum.add(c)
		}
	}
	perRow := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(sum.rows) }
	rate := float64(sum.rows) / sum.elapsed.Seconds()
	b.ReportMetric(rate, "rows/s")
	b.ReportMetric(perRow(sum.sink), "sink-cpu-µs/row")
	b.ReportMetric(perRow(sum.engine), "engine-cpu-µs/row")
	b.ReportMetric(perRow(sum.broker), "broker-cpu-µs/row")
	machine.Print("sink", "%.0f rows/s; CPU per row: sink %.1f µs, ClickHouse %.1f µs, broker %.1f µs", rate, perRow(sum.sink), perRow(sum.engine), perRow(sum.broker))
}

// bench is what the rounds share.
type bench struct {
	*testing.B
	dsn    string
	log    brokerProcess
	count  func() uint64
	tenant uuid.UUID
	had    uint64 // rows in the table before this round
	want   uint64 // and after it
}

// cost is what rows took.
type cost struct {
	rows                          uint64
	elapsed, sink, engine, broker time.Duration
}

func (c *cost) add(d cost) {
	c.rows += d.rows
	c.elapsed += d.elapsed
	c.sink += d.sink
	c.engine += d.engine
	c.broker += d.broker
}

// round has a new sink bring a log full of events into the table.
func (r *bench) round(seed uint64) cost {
	r.Helper()
	cfg := shop.DefaultConfig()
	cfg.Seed, cfg.Events = seed, events
	log, err := feed.Fill(r.Context(), r.log.seeds, event.TopicEvents, r.tenant, cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.want += uint64(log.Truth.Messages)
	reg := prometheus.NewRegistry()
	sink := newSink(r.B, r.dsn, r.log.seeds, reg)
	runtime.GC() // of what filled the log
	if err := sink.Start(r.Context()); err != nil {
		r.Fatal(err)
	}
	// Joining the consumer group takes seconds, and is not what is measured.
	await(r.B, time.Millisecond, func() bool { return metric.Sum(r, reg, "keystone_sink_records_total") > 0 })
	already := r.count()
	before := r.read()
	// The sink is asked how many rows it has inserted, not the table: that would take ClickHouse a twentieth of its time.
	inserted := func() uint64 { return uint64(metric.Sum(r, reg, "keystone_sink_rows_total")) }
	await(r.B, 20*time.Millisecond, func() bool { return inserted() >= r.want-r.had })
	c := r.read().since(before)
	c.rows = r.want - already
	if n := r.count(); n != r.want {
		r.Fatalf("%d events are in the table, want %d", n, r.want)
	}
	r.had = r.want
	if err := sink.Stop(context.WithoutCancel(r.Context())); err != nil {
		r.Fatal(err)
	}
	return c
}

// clocks are the processor times so far, and the time.
type clocks struct {
	at                     time.Time
	self, children, broker time.Duration
}

func (r *bench) read() clocks {
	r.Helper()
	children, err := machine.ChildrenCPU()
	if err != nil {
		r.Fatal(err)
	}
	broker, err := machine.ProcessCPU(r.log.pid)
	if err != nil {
		r.Fatal(err)
	}
	return clocks{time.Now(), machine.CPU(), children, broker}
}

func (c clocks) since(b clocks) cost {
	broker := c.broker - b.broker
	return cost{elapsed: c.at.Sub(b.at), sink: c.self - b.self, broker: broker, engine: c.children - b.children - broker}
}

// brokerProcess is a log in a process of its own.
type brokerProcess struct {
	seeds []string
	pid   int
}

func startLog(b *testing.B) brokerProcess {
	b.Helper()
	other := enginetest.Rerun(b, "TestHelperLog", nil, "")
	seeds := strings.Split(strings.TrimSpace(other.Line(b)), ",")
	pid, err := strconv.Atoi(strings.TrimSpace(other.Line(b)))
	if err != nil {
		b.Fatal(err)
	}
	return brokerProcess{seeds, pid}
}

// TestHelperLog is the other process.
func TestHelperLog(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("for the benchmark")
	}
	seeds := enginetest.Broker(t,
		enginetest.Topic{Name: event.TopicEvents, Partitions: 4}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 4},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 4}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	enginetest.Say(strings.Join(seeds, ","))
	enginetest.Say(os.Getpid())
	select {} // until it is killed
}

func newSink(b *testing.B, dsn string, seeds []string, reg prometheus.Registerer) *analytics.Sink {
	b.Helper()
	cfg := analytics.DefaultConfig()
	cfg.ClickHouseDSN, cfg.Sink.Brokers = dsn, seeds
	s, err := analytics.New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// counter answers how many events are in the table.
func counter(b *testing.B, dsn string) func() uint64 {
	b.Helper()
	conn, err := query.Open(dsn, 2)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := conn.Close(); err != nil {
			b.Error(err)
		}
	})
	return func() (n uint64) {
		if err := conn.QueryRow(b.Context(), "SELECT count() FROM events").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
}

// patience bounds a wait.
const patience = 5 * time.Minute

// await looks every so often until it is so.
func await(b *testing.B, poll time.Duration, so func() bool) {
	b.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			b.Fatal("the sink does not get there")
		}
	}
}
