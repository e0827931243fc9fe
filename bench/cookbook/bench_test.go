package cookbook_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/fill"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

var events = flag.Int("cookbook.events", 200_000, "how many events BenchmarkCookbook asks about")

// original is how many events are a shop's own; more are copies of it, with other visitors.
const original = 200_000

// BenchmarkCookbook asks each question about a month of one tenant, all there is, on data on a disk. What
// it took is told by ClickHouse itself: processor time says more than elapsed time on a busy machine.
func BenchmarkCookbook(b *testing.B) {
	n := *events
	if testing.Short() {
		n = 5_000
	}
	conn, rows := filled(b, n)
	parameters := map[string]string{
		"tenant": north.String(), "since": "2026-10-01 00:00:00", "until": "2026-11-01 00:00:00", "now": "2026-10-20 12:00:00",
		"email":   one(b, conn, "SELECT any(value) FROM identity_map WHERE kind = 'email'"),
		"profile": one(b, conn, "SELECT toString(any(profile_id)) FROM attribute_changes"),
	}
	table := fmt.Sprintf("\n%d events [%s]\n\n| question | seconds | CPU seconds | million rows read | MB read | MB of memory |\n| --- | --- | --- | --- | --- | --- |\n", rows, machine.Line())
	for i, q := range analytics.Cookbook() {
		b.Run(strings.ReplaceAll(q.Title, "/", " "), func(b *testing.B) {
			id := fmt.Sprintf("question-%d-%d", i, b.N)
			for n := 0; b.Loop(); n++ {
				if _, err := query.Table(queryID(b.Context(), fmt.Sprintf("%s-%d", id, n)), conn, q.SQL, parameters); err != nil {
					b.Fatal(err)
				}
			}
			c := costOf(b, conn, id+"-")
			b.ReportMetric(c[1], "cpu-s")
			b.ReportMetric(c[2], "Mrows")
			table += fmt.Sprintf("| %s | %.2f | %.2f | %.1f | %.0f | %.0f |\n", q.Title, c[0], c[1], c[2], c[3], c[4])
		})
	}
	fmt.Print(table)
}

// costOf is what queries took in the mean: seconds, seconds of processor, millions of rows, MB read, MB of memory.
func costOf(b *testing.B, conn driver.Conn, id string) (c [5]float64) {
	b.Helper()
	if err := conn.Exec(b.Context(), "SYSTEM FLUSH LOGS"); err != nil {
		b.Fatal(err)
	}
	err := conn.QueryRow(b.Context(), `SELECT avg(query_duration_ms) / 1e3, avg(ProfileEvents['OSCPUVirtualTimeMicroseconds']) / 1e6,
		avg(read_rows) / 1e6, avg(read_bytes) / 1e6, max(memory_usage) / 1e6
		FROM system.query_log WHERE startsWith(query_id, $1) AND type = 'QueryFinish'`, id).Scan(&c[0], &c[1], &c[2], &c[3], &c[4])
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// filled is a ClickHouse of the benchmark's own, with at least n events of one tenant.
func filled(b *testing.B, n int) (driver.Conn, uint64) {
	b.Helper()
	cfg := enginetest.ClickHouseConfig(b, b.TempDir())
	cfg.MaxMemoryBytes = 8 << 30
	server, err := clickhouse.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Stop(context.Background()) }) // a temporary folder goes with it
	schematest.Migrate(b, server.NativeDSN())
	fill.Shop(b, server.NativeDSN(), north, min(n, original), shop.DefaultConfig())
	if n > original {
		fill.Copies(b, server.NativeDSN()+"&read_timeout=1h", n/original) // one statement a table
	}
	conn, err := query.Open(server.NativeDSN(), 2)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	var rows uint64
	if err := conn.QueryRow(b.Context(), "SELECT count() FROM events").Scan(&rows); err != nil {
		b.Fatal(err)
	}
	return conn, rows
}

func one(b *testing.B, conn driver.Conn, sql string) (text string) {
	b.Helper()
	if err := conn.QueryRow(b.Context(), sql).Scan(&text); err != nil {
		b.Fatal(err)
	}
	return text
}

func queryID(ctx context.Context, id string) context.Context {
	return chgo.Context(ctx, chgo.WithQueryID(id))
}
