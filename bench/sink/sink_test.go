// Package sink_test measures the sink as a stage: from a log full of events to the rows in
// ClickHouse, all on one machine.
package sink_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/bench/feed"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// events is how many one round brings into the table.
const events = 100_000

// BenchmarkSink is rows of table events per second. ClickHouse and the broker share the cores.
func BenchmarkSink(b *testing.B) {
	seeds := enginetest.Broker(b,
		enginetest.Topic{Name: event.TopicEvents, Partitions: 4}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 4},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 4}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	dsn := enginetest.ClickHouse(b).NativeDSN
	migrate(b, dsn)
	count := counter(b, dsn)
	rows, want := 0, uint64(0)
	tenant := uuid.New()
	var cpu, engine time.Duration
	for round := uint64(1); b.Loop(); round++ {
		b.StopTimer()
		cfg := shop.DefaultConfig()
		cfg.Seed, cfg.Events = round, events
		log, err := feed.Fill(b.Context(), seeds, event.TopicEvents, tenant, cfg)
		if err != nil {
			b.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		sink := newSink(b, dsn, seeds, reg)
		want += uint64(log.Truth.Messages)
		rows += log.Truth.Messages
		before, engineBefore := machine.CPU(), childrenCPU(b)
		if err := sink.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		// Joining the consumer group takes seconds, and is not what is measured.
		await(b, time.Millisecond, func() bool { return metric.Sum(b, reg, "keystone_sink_records_total") > 0 })
		b.StartTimer()
		await(b, 20*time.Millisecond, func() bool { return count() == want })
		b.StopTimer()
		cpu += machine.CPU() - before
		engine += childrenCPU(b) - engineBefore
		if err := sink.Stop(context.WithoutCancel(b.Context())); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	perRow := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(rows) }
	rate := float64(rows) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "rows/s")
	b.ReportMetric(perRow(cpu), "cpu-µs/row")
	b.ReportMetric(perRow(engine), "engine-cpu-µs/row")
	machine.Print("sink", "%.0f rows/s; CPU per row: sink and broker %.1f µs, ClickHouse %.1f µs", rate, perRow(cpu), perRow(engine))
}

func childrenCPU(b *testing.B) time.Duration {
	b.Helper()
	d, err := machine.ChildrenCPU()
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func migrate(b *testing.B, dsn string) {
	b.Helper()
	m, err := schema.New(dsn, schema.Engines{})
	if err != nil {
		b.Fatal(err)
	}
	_, err = m.Up(b.Context())
	if closeErr := m.Close(); err != nil || closeErr != nil {
		b.Fatal(err, closeErr)
	}
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
