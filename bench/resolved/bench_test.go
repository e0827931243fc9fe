package resolved_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/fill"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// What is asked of both: FROM_ and PERSON are the table and its profile_node, or the view and its profile_id.
var asked = []struct{ name, question string }{
	{"people", `SELECT uniq(PERSON) FROM FROM_`},
	{"people by day", `SELECT toDate(timestamp) AS day, uniq(PERSON) FROM FROM_ GROUP BY day ORDER BY day`},
	{"most spending", `SELECT PERSON, sum(revenue) AS spent FROM FROM_ GROUP BY PERSON ORDER BY spent DESC LIMIT 10`},
	{"funnel", `SELECT level, count() FROM (SELECT PERSON, windowFunnel(86400)(toDateTime(timestamp), event_name = 'Product', event_name = 'Product Added', event_name = 'Order Completed') AS level
		FROM FROM_ GROUP BY PERSON) GROUP BY level ORDER BY level`},
}

// BenchmarkResolved is how many times as long a question takes of events_resolved as of events, in one
// run, the better of three.
func BenchmarkResolved(b *testing.B) {
	conn, cfg := filled(b)
	var rows, recognised, disk uint64
	if err := conn.QueryRow(b.Context(), `SELECT count(), (SELECT count() FROM identity_map FINAL WHERE NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))),
		(SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()) FROM events`).Scan(&rows, &recognised, &disk); err != nil {
		b.Fatal(err)
	}
	raw, gzipped := sizes(b, cfg)
	machine.Print("resolved", "%d events, %.1f bytes each on disk (as JSON %.0f, gzipped %.1f), %d rows of the map that are not trivial",
		rows, float64(disk)/float64(rows), raw, gzipped, recognised)
	for _, q := range asked {
		b.Run(strings.ReplaceAll(q.name, " ", "_"), func(b *testing.B) {
			best := map[string]time.Duration{}
			for b.Loop() {
				for range 3 {
					for from, person := range map[string]string{"events": "profile_node", "events_resolved": "profile_id"} {
						took := ask(b, conn, strings.NewReplacer("PERSON", person, "FROM_", from).Replace(q.question))
						if best[from] == 0 || took < best[from] {
							best[from] = took
						}
					}
				}
			}
			ratio := best["events_resolved"].Seconds() / best["events"].Seconds()
			b.ReportMetric(ratio, "resolved:events")
			machine.Print("resolved", "%s: events %s, events_resolved %s, %.2f times", q.name, best["events"], best["events_resolved"], ratio)
		})
	}
}

// BenchmarkEventsIn is what a question about a time takes of events_resolved and of events_in, in one run: the
// best of three of each.
func BenchmarkEventsIn(b *testing.B) {
	conn, _ := filled(b)
	var tenant uuid.UUID
	var last time.Time
	if err := conn.QueryRow(b.Context(), `SELECT any(tenant_id), max(timestamp) FROM events`).Scan(&tenant, &last); err != nil {
		b.Fatal(err)
	}
	until := last.Truncate(24 * time.Hour).Add(-7*24*time.Hour + 13*time.Hour) // an afternoon when the shop was as busy as ever
	for _, span := range []struct {
		name string
		time.Duration
	}{{"an hour", time.Hour}, {"a day", 24 * time.Hour}, {"a week", 7 * 24 * time.Hour}, {"all", 100 * 24 * time.Hour}} {
		end := until
		if span.name == "all" {
			end = last.Add(time.Second)
		}
		in := strings.NewReplacer("TENANT", tenant.String(), "SINCE", end.Add(-span.Duration).Format(time.DateTime), "UNTIL", end.Format(time.DateTime))
		b.Run(strings.ReplaceAll(span.name, " ", "_"), func(b *testing.B) {
			var resolved, within cost
			for b.Loop() {
				for range 3 {
					resolved = resolved.better(costOf(b, conn, in.Replace(`SELECT count(), uniqExact(profile_id) FROM events_resolved
						WHERE tenant_id = 'TENANT' AND timestamp >= 'SINCE' AND timestamp < 'UNTIL'`)))
					within = within.better(costOf(b, conn, in.Replace(`SELECT count(), uniqExact(profile_id) FROM events_in(tenant = 'TENANT', since = 'SINCE', until = 'UNTIL')`)))
				}
			}
			if resolved.events != within.events || resolved.people != within.people {
				b.Errorf("events_resolved: %+v, events_in: %+v", resolved, within)
			}
			machine.Print("events_in", "%s, %d events: events_resolved %s of CPU, %d MB; events_in %s, %d MB", span.name, within.events,
				resolved.cpu.Round(time.Millisecond), resolved.memory>>20, within.cpu.Round(time.Millisecond), within.memory>>20)
		})
	}
}

// cost is what a question took of the engine, and its answer.
type cost struct {
	cpu            time.Duration
	memory         int64 // bytes at the most
	events, people uint64
}

func (c cost) better(other cost) cost {
	if c.cpu == 0 || other.cpu < c.cpu {
		return other
	}
	return c
}

func costOf(b *testing.B, conn driver.Conn, question string) (c cost) {
	b.Helper()
	ctx := chgo.Context(b.Context(), chgo.WithProfileEvents(func(all []chgo.ProfileEvent) {
		for _, e := range all {
			switch e.Name {
			case "OSCPUVirtualTimeMicroseconds":
				c.cpu += time.Duration(e.Value) * time.Microsecond
			case "MemoryTrackerPeakUsage":
				c.memory = max(c.memory, e.Value)
			}
		}
	}))
	if err := conn.QueryRow(ctx, question).Scan(&c.events, &c.people); err != nil {
		b.Fatalf("%s: %v", question, err)
	}
	return c
}

// filled is an engine with the shop's traffic. KEYSTONE_BENCH_EVENTS is how many events come from the shop, and
// KEYSTONE_BENCH_COPIES how many times over (1 000 000, once).
func filled(b *testing.B) (driver.Conn, shop.Config) {
	b.Helper()
	events, copies := number(b, "KEYSTONE_BENCH_EVENTS", 1_000_000), number(b, "KEYSTONE_BENCH_COPIES", 1)
	if testing.Short() {
		events, copies = 20_000, 1
	}
	dsn := onDisk(b)
	schematest.Migrate(b, dsn)
	cfg := shop.DefaultConfig()
	cfg.Span = 60 * 24 * time.Hour
	fill.Shop(b, dsn, uuid.New(), events, cfg)
	if copies > 1 {
		fill.Copies(b, dsn, copies)
	}
	conn, err := query.Open(dsn, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn, cfg
}

// sizes are the bytes of an event's JSON, as it is and in one gzipped file.
func sizes(b *testing.B, cfg shop.Config) (raw, gzipped float64) {
	b.Helper()
	cfg.Events = 100_000
	stream, err := shop.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	writer := gzip.NewWriter(&file)
	n := 0
	for body := range stream.All() {
		if _, err := writer.Write(append(body, '\n')); err != nil {
			b.Fatal(err)
		}
		n += len(body) + 1
	}
	if err := writer.Close(); err != nil {
		b.Fatal(err)
	}
	return float64(n) / float64(cfg.Events), float64(file.Len()) / float64(cfg.Events)
}

func number(b *testing.B, variable string, otherwise int) int {
	b.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// onDisk is an engine of the benchmark's own, on a disk: in memory there is no room for that much.
func onDisk(b *testing.B) (dsn string) {
	b.Helper()
	cfg := enginetest.ClickHouseConfig(b, filepath.Join(enginetest.DiskFolder(b), "clickhouse"))
	cfg.MaxMemoryBytes = 8 << 30
	server, err := clickhouse.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	enginetest.Need(b, server.Start(b.Context()))
	b.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return server.NativeDSN()
}

// ask reads the whole answer.
func ask(b *testing.B, conn driver.Conn, question string) time.Duration {
	b.Helper()
	begin := time.Now()
	rows, err := conn.Query(b.Context(), question)
	if err != nil {
		b.Fatalf("%s: %v", question, err)
	}
	defer rows.Close()
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		b.Fatalf("%s: %v", question, err)
	}
	return time.Since(begin)
}
