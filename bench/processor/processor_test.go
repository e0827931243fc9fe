// Package processor_test measures the processor as a stage: from a log full of events to the state
// store, with fsync, and on to the log of changes, all on one machine.
package processor_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/bench/feed"
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

// How many events a second of log time has. Few events of a busy site's batch are of the same visitor,
// and the fewer, the more rows there are to write; at the pace of the log, or behind a quiet site, a
// batch has most of a visit.
const (
	busy  = 1000
	quiet = 0.025
)

// manyProfiles is how many a large state store has: a million, a few with -short, and what
// KEYSTONE_BENCH_PROFILES says.
func manyProfiles(b *testing.B) int {
	b.Helper()
	if text := os.Getenv("KEYSTONE_BENCH_PROFILES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 20_000
	}
	return 1_000_000
}

// scenario is one thing to measure.
type scenario struct {
	mix        shop.Mix
	partitions int
	profiles   int     // in the store before
	rate       float64 // events a second
}

// BenchmarkProcessor is events per second, for a shop's ordinary day, for anonymous page views and
// for a storm of identifies. The state store and the broker share the cores.
func BenchmarkProcessor(b *testing.B) {
	mixes := []shop.Mix{shop.DefaultMix(), shop.AnonymousMix(), shop.IdentifyStormMix()}
	var all []scenario
	for _, partitions := range []int{1, 2, 4} {
		for _, mix := range mixes {
			all = append(all, scenario{mix, partitions, 0, busy})
		}
	}
	for _, mix := range mixes[:2] {
		all = append(all, scenario{mix, 4, manyProfiles(b), busy}, scenario{mix, 4, 0, quiet})
	}
	for _, s := range all {
		b.Run(fmt.Sprintf("%s/partitions=%d/profiles=%d/rate=%g", s.mix.Name, s.partitions, s.profiles, s.rate), s.measure)
	}
}

// bench is what a scenario runs on.
type bench struct {
	*testing.B
	scenario
	dsn    string
	pool   *pgxpool.Pool
	seeds  []string
	tenant uuid.UUID
}

func (s scenario) measure(b *testing.B) {
	r := &bench{B: b, scenario: s}
	r.start()
	var sum cost
	for round := range warmUp + b.N {
		if c := r.drain(r.fill(round)); round >= warmUp {
			sum.add(c)
		}
	}
	sum.report(b, s)
}

// warmUp is how many rounds are not counted: prepared statements, and the store's first change of a
// page after a checkpoint, are the price of a start and not of an event.
const warmUp = 2

// start starts a state store that waits for the disk, as in production, with one tenant; and a log.
func (r *bench) start() {
	r.Helper()
	cfg := enginetest.StoreConfig(r, filepath.Join(enginetest.DiskFolder(r), "statestore"))
	production := statestore.DefaultConfig()
	cfg.Fsync, cfg.SharedBuffersMB = production.Fsync, 1024
	server, err := statestore.New(cfg)
	r.must(err)
	enginetest.Need(r, server.Start(r.Context()))
	r.Cleanup(func() { r.must(server.Stop(context.Background())) })
	r.dsn = server.DSN()
	r.must(sql.Migrate(r.Context(), r.dsn, slog.New(slog.DiscardHandler)))
	r.pool, err = sql.Open(r.Context(), r.dsn, 2)
	r.must(err)
	r.Cleanup(r.pool.Close)
	t, err := control.New(r.pool).CreateTenant(r.Context(), "bench", "Bench")
	r.must(err)
	r.tenant = t.ID
	r.seeds = enginetest.Broker(r,
		enginetest.Topic{Name: event.TopicEvents, Partitions: r.partitions}, enginetest.Topic{Name: event.TopicBackfill, Partitions: r.partitions},
		enginetest.Topic{Name: event.TopicChanges, Partitions: r.partitions}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	if r.profiles > 0 {
		r.must(r.populate(r.profiles))
	}
}

func (r *bench) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// fill writes a round's events to the log; each goes on where the one before ended.
func (r *bench) fill(round int) feed.Log {
	r.Helper()
	cfg := r.stream(round)
	if r.profiles > 0 {
		r.must(r.introduce(cfg))
	}
	log, err := feed.Fill(r.Context(), r.seeds, event.TopicEvents, r.tenant, cfg)
	r.must(err)
	return log
}

func (r *bench) stream(round int) shop.Config {
	cfg := shop.DefaultConfig()
	cfg.Seed, cfg.Events, cfg.Mix, cfg.Span = uint64(round+1), events, r.mix, time.Duration(events/r.rate*float64(time.Second))
	cfg.Start = cfg.Start.Add(time.Duration(round) * cfg.Span)
	return cfg
}

// drain has a new processor do the round.
func (r *bench) drain(log feed.Log) (f cost) {
	r.Helper()
	reg := prometheus.NewRegistry()
	p := newProcessor(r, r.dsn, r.seeds, reg)
	done := func() int { return int(metric.Sum(r, reg, "keystone_processor_records_total")) }
	r.must(p.Start(r.Context()))
	// Joining the consumer group takes seconds, and is not what is measured.
	await(r, func() bool { return done() > 0 })
	before, already := r.read(), done()
	await(r, func() bool { return done() == log.Records })
	f = r.read().minus(before)
	f.records = log.Records - already
	f.batches = metric.Histogram(r, reg, "keystone_processor_batch_seconds")
	f.retries = metric.Sum(r, reg, "keystone_processor_retries_total")
	if dead := metric.Sum(r, reg, "keystone_processor_dead_letters_total"); dead > 0 {
		r.Fatalf("%v events were given up", dead)
	}
	r.must(p.Stop(context.WithoutCancel(r.Context())))
	return f
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

const (
	poll     = 20 * time.Millisecond
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
