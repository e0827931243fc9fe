// Package processor_test measures the processor as a stage: from a log full of events to the state
// store, with fsync, and on to the log of changes, all on one machine.
package processor_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/bench/feed"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// events is how many one round brings into the state store: more than the processor queues, so that
// it has to stop and go on fetching, as it does behind a real backlog.
const events = 60_000

// BenchmarkProcessor is events per second, for a shop's ordinary day, for anonymous page views and
// for a storm of identifies. The state store and the broker share the cores.
func BenchmarkProcessor(b *testing.B) {
	for _, mix := range []shop.Mix{shop.DefaultMix(), shop.AnonymousMix(), shop.IdentifyStormMix()} {
		b.Run(mix.Name, func(b *testing.B) { measure(b, mix) })
	}
}

func measure(b *testing.B, mix shop.Mix) {
	dsn, tenant := startStore(b)
	seeds := enginetest.Broker(b,
		enginetest.Topic{Name: event.TopicEvents, Partitions: 4}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 4},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 4}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	total := 0
	var cpu, store time.Duration
	for round := uint64(1); b.Loop(); round++ {
		b.StopTimer()
		cfg := shop.DefaultConfig()
		cfg.Seed, cfg.Events, cfg.Mix = round, events, mix
		log, err := feed.Fill(b.Context(), seeds, event.TopicEvents, tenant, cfg)
		if err != nil {
			b.Fatal(err)
		}
		total += log.Records
		reg := prometheus.NewRegistry()
		p := newProcessor(b, dsn, seeds, reg)
		done := func() float64 { return metric.Sum(b, reg, "keystone_processor_records_total") }
		before, storeBefore := machine.CPU(), childrenCPU(b)
		if err := p.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		// Joining the consumer group takes seconds, and is not what is measured.
		await(b, func() bool { return done() > 0 })
		already := int(done())
		b.StartTimer()
		await(b, func() bool { return int(done()) == log.Records })
		b.StopTimer()
		total -= already
		cpu += machine.CPU() - before
		store += childrenCPU(b) - storeBefore
		if dead := metric.Sum(b, reg, "keystone_processor_dead_letters_total"); dead > 0 {
			b.Fatalf("%v events were given up", dead)
		}
		if err := p.Stop(context.WithoutCancel(b.Context())); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	perEvent := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(total) }
	rate := float64(total) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(perEvent(cpu), "cpu-µs/event")
	b.ReportMetric(perEvent(store), "store-cpu-µs/event")
	machine.Print("processor "+mix.Name, "%.0f events/s; CPU per event: processor and broker %.1f µs, state store %.1f µs", rate, perEvent(cpu), perEvent(store))
}

// startStore starts a state store that waits for the disk, as in production, with one tenant.
func startStore(b *testing.B) (dsn string, tenant uuid.UUID) {
	b.Helper()
	cfg := enginetest.StoreConfig(b, filepath.Join(enginetest.Folder(b), "statestore"))
	production := statestore.DefaultConfig()
	cfg.Fsync, cfg.SharedBuffersMB = production.Fsync, production.SharedBuffersMB
	server, err := statestore.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	enginetest.Need(b, server.Start(b.Context()))
	b.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	if err := sql.Migrate(b.Context(), server.DSN(), slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	pool, err := sql.Open(b.Context(), server.DSN(), 2)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	t, err := control.New(pool).CreateTenant(b.Context(), "bench", "Bench")
	if err != nil {
		b.Fatal(err)
	}
	return server.DSN(), t.ID
}

func newProcessor(tb testing.TB, dsn string, seeds []string, reg prometheus.Registerer) *processor.Processor {
	tb.Helper()
	cfg := processor.DefaultConfig()
	cfg.DSN, cfg.Brokers = dsn, seeds
	p, err := processor.New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func childrenCPU(b *testing.B) time.Duration {
	b.Helper()
	d, err := machine.ChildrenCPU()
	if err != nil {
		b.Fatal(err)
	}
	return d
}

const (
	poll     = 2 * time.Millisecond
	patience = 5 * time.Minute
)

// await looks every so often until it is so.
func await(tb testing.TB, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatal("the processor does not get there")
		}
	}
}
