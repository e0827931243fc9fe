// Package footprint_test measures what an event leaves behind: bytes in the log, in the state store and in
// ClickHouse, after it has gone through the real edge, processor and sink. docs/sizing.md is made of what it prints.
package footprint_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// events of a shop's thirty days, so that most visitors have all of their visits in them.
const events = 200_000

const partitions = 4

// bench is a whole pipeline.
type bench struct {
	*testing.B
	seeds   []string
	store   string
	columns string
	pool    *pgxpool.Pool
	conn    driver.Conn
	events  int
	sent    int // events that the edge took
	bytes   int // of their bodies
}

// BenchmarkFootprint prints bytes per event, topic by topic and table by table.
func BenchmarkFootprint(b *testing.B) {
	for _, s := range []struct {
		name string
		set  func(*load.Config)
	}{
		{"single", func(c *load.Config) { c.Key = edge.TrackerKey }},
		{"batches=100", func(c *load.Config) {
			c.Path, c.Key, c.BatchEvents, c.Connections = load.PathBatch, edge.IntegrationKey, 100, 4
		}},
	} {
		b.Run(s.name, func(b *testing.B) {
			for range b.N {
				r := start(b)
				r.send(s.set)
				if s.name == "single" {
					r.process()
				}
				r.logSizes(s.name)
				if s.name == "single" {
					r.sink()
					r.storeSizes()
					r.columnSizes()
				}
			}
			b.ReportMetric(0, "ns/op") // a run is no operation
		})
	}
}

func (r *bench) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func start(b *testing.B) *bench {
	b.Helper()
	r := &bench{B: b, store: enginetest.Store(b), columns: enginetest.ClickHouse(b).NativeDSN, events: events}
	if testing.Short() {
		r.events = 4_000
	}
	r.must(sql.Migrate(b.Context(), r.store, slog.New(slog.DiscardHandler)))
	schematest.Migrate(b, r.columns)
	var err error
	r.pool, err = sql.Open(b.Context(), r.store, 2)
	r.must(err)
	b.Cleanup(r.pool.Close)
	_, err = r.pool.Exec(b.Context(), "INSERT INTO tenants (tenant_id, slug, name, settings, created_at) VALUES ($1::UUID, 'bench', 'Bench', '{}', now())", edge.Tenant)
	r.must(err)
	r.conn, err = query.Open(r.columns, 2)
	r.must(err)
	b.Cleanup(func() { r.must(r.conn.Close()) })
	var topics []enginetest.Topic
	for _, name := range []string{event.TopicEvents, event.TopicBackfill, event.TopicChanges, event.TopicDLQ} {
		topics = append(topics, enginetest.Topic{Name: name, Partitions: partitions})
	}
	r.seeds = enginetest.Broker(b, topics...)
	return r
}

// send has the real edge take a shop's thirty days, as fast as it does.
func (r *bench) send(set func(*load.Config)) {
	r.Helper()
	e, err := edge.Start(r.Context(), r.seeds, r.TempDir(), prometheus.NewRegistry())
	r.must(err)
	cfg := load.DefaultConfig()
	cfg.URL, cfg.Ordered, cfg.RetryFor = e.URL, true, time.Minute
	set(&cfg)
	of := shop.DefaultConfig()
	of.Events = r.events
	stream, err := shop.New(of)
	r.must(err)
	report, err := load.Run(r.Context(), cfg, func(dst []byte) ([]byte, uint64, bool) {
		out, d, ok := stream.Next(dst)
		r.bytes += len(out) - len(dst)
		return out, d.Lane, ok
	})
	r.must(err)
	if r.sent = int(report.Acknowledged); r.sent != r.events {
		r.Fatalf("%d of %d events were taken", r.sent, r.events)
	}
	r.must(e.Stop(context.WithoutCancel(r.Context())))
}

func (r *bench) process() {
	r.Helper()
	cfg, reg := processor.DefaultConfig(), prometheus.NewRegistry()
	cfg.DSN, cfg.Brokers = r.store, r.seeds
	p, err := processor.New(cfg, slog.New(slog.DiscardHandler), reg)
	r.must(err)
	r.must(p.Start(r.Context()))
	r.await(func() bool { return int(metric.Sum(r, reg, "keystone_processor_records_total")) == r.sent })
	r.must(p.Stop(context.WithoutCancel(r.Context()))) // with its outbox
}

func (r *bench) sink() {
	r.Helper()
	cfg := analytics.DefaultConfig()
	cfg.ClickHouseDSN, cfg.Sink.Brokers = r.columns, r.seeds
	s, err := analytics.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	r.must(err)
	r.must(s.Start(r.Context()))
	ends := r.ends()
	r.await(func() bool {
		at, err := query.Positions(r.Context(), r.conn)
		r.must(err)
		for _, p := range at {
			if end, ok := ends.Lookup(p.Topic, p.Partition); ok && p.NextOffset >= end.Offset {
				delete(ends[p.Topic], p.Partition)
			}
		}
		left := 0
		ends.Each(func(o kadm.ListedOffset) {
			if o.Offset > 0 {
				left++
			}
		})
		return left == 0
	})
	r.must(s.Stop(context.WithoutCancel(r.Context())))
}

func (r *bench) ends() kadm.ListedOffsets {
	r.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.seeds...))
	r.must(err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(r.Context(), event.TopicEvents, event.TopicBackfill, event.TopicChanges)
	r.must(err)
	return ends
}

// patience bounds a wait.
const patience = 10 * time.Minute

func (r *bench) await(so func() bool) {
	r.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			r.Fatal("it does not get there")
		}
	}
}

// batchHeader is what a batch of records has in the log before its records.
const batchHeader = 61

// tally counts what is in the log as it lies there. Its methods are called by many goroutines.
type tally struct {
	mu               sync.Mutex
	batches, records map[string]int
	bytes            map[string]int
}

// OnFetchBatchRead implements kgo.HookFetchBatchRead.
func (t *tally) OnFetchBatchRead(_ kgo.BrokerMetadata, topic string, _ int32, m kgo.FetchBatchMetrics) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batches[topic]++
	t.records[topic] += m.NumRecords
	t.bytes[topic] += m.CompressedBytes + batchHeader
}

// logSizes reads all topics once, and tells what their batches weigh.
func (r *bench) logSizes(name string) {
	r.Helper()
	t := &tally{batches: map[string]int{}, records: map[string]int{}, bytes: map[string]int{}}
	left := 0
	r.ends().Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	client, err := kgo.NewClient(kgo.SeedBrokers(r.seeds...), kgo.WithHooks(t),
		kgo.ConsumeTopics(event.TopicEvents, event.TopicBackfill, event.TopicChanges), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	r.must(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		r.must(fetches.Err())
		left -= fetches.NumRecords()
	}
	machine.Print("footprint "+name, "%d events of %.0f bytes of JSON", r.sent, per(r.bytes, r.sent))
	for _, topic := range []string{event.TopicEvents, event.TopicBackfill, event.TopicChanges} {
		if t.batches[topic] == 0 {
			continue
		}
		fmt.Printf("  log    %-20s %7.1f B/event  %.3f records/event  %.1f records/batch\n", topic,
			per(t.bytes[topic], r.sent), per(t.records[topic], r.sent), per(t.records[topic], t.batches[topic]))
		r.ReportMetric(per(t.bytes[topic], r.sent), strings.TrimPrefix(topic, "keystone.")+"-B/event")
	}
}

func per[T int | int64 | uint64](n, of T) float64 { return float64(n) / float64(of) }

// storeSizes tells rows and bytes of the state store's tables, with what belongs to them.
func (r *bench) storeSizes() {
	r.Helper()
	_, err := r.pool.Exec(r.Context(), "VACUUM ANALYZE")
	r.must(err)
	var total int64
	for _, table := range []string{"message_ids", "profiles", "identifiers", "identifier_spans", "attribute_changes", "profile_merges",
		"identity_conflicts", "orders", "products", "outbox", "processor_offsets"} {
		var rows, heap, index int64
		r.must(r.pool.QueryRow(r.Context(), "SELECT (SELECT count(*) FROM "+table+"), pg_table_size($1::TEXT::regclass), pg_indexes_size($1::TEXT::regclass)", table).
			Scan(&rows, &heap, &index))
		total += heap + index
		fmt.Printf("  store  %-20s %7.1f B/event  %.3f rows/event  %.0f B/row, of which indexes %.0f\n", table,
			per(heap+index, int64(r.sent)), per(rows, int64(r.sent)), per(heap+index, max(1, rows)), per(index, max(1, rows)))
	}
	r.ReportMetric(per(total, int64(r.sent)), "store-B/event")
}

// columnSizes tells the same of ClickHouse, where every table is one part in each partition.
func (r *bench) columnSizes() {
	r.Helper()
	const tables = `SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name`
	for _, name := range column[string](r, tables) {
		r.must(r.conn.Exec(r.Context(), "OPTIMIZE TABLE `"+name+"` FINAL"))
	}
	rows, err := r.conn.Query(r.Context(), `SELECT table, sum(rows), sum(bytes_on_disk) AS bytes, sum(data_uncompressed_bytes) FROM system.parts
		WHERE active AND database = currentDatabase() GROUP BY table ORDER BY bytes DESC`)
	r.must(err)
	defer rows.Close() //nolint:errcheck // it was only read from
	var total uint64
	for rows.Next() {
		var table string
		var n, disk, raw uint64
		r.must(rows.Scan(&table, &n, &disk, &raw))
		total += disk
		fmt.Printf("  column %-20s %7.1f B/event  %.3f rows/event  %.0f B/row, %.1f times less than raw\n", table,
			per(disk, uint64(r.sent)), per(n, uint64(r.sent)), per(disk, max(1, n)), per(raw, max(1, disk)))
	}
	r.must(rows.Err())
	r.ReportMetric(per(total, uint64(r.sent)), "columns-B/event")
}

func column[T any](r *bench, question string) (all []T) {
	r.Helper()
	rows, err := r.conn.Query(r.Context(), question)
	r.must(err)
	defer rows.Close() //nolint:errcheck // it was only read from
	for rows.Next() {
		var v T
		r.must(rows.Scan(&v))
		all = append(all, v)
	}
	r.must(rows.Err())
	return all
}
