package cookbook_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/bench/fill"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

var events = flag.Int("cookbook.events", 200_000, "how many events BenchmarkCookbook asks about")

// original is how many events are a shop's own; more are copies of it, with other visitors.
const original = 200_000

// BenchmarkCookbook asks each question about a month of one tenant, all there is. ClickHouse has a
// folder on disk, and caches what it likes: the first of the runs is not counted.
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
	type line struct {
		title string
		took  time.Duration
		reads uint64
		bytes uint64
	}
	var table []line
	for _, q := range analytics.Cookbook() {
		b.Run(strings.ReplaceAll(q.Title, "/", " "), func(b *testing.B) {
			var reads, bytes uint64
			ask := func() {
				reads, bytes = 0, 0
				ctx := progress(b.Context(), &reads, &bytes)
				if _, err := query.Table(ctx, conn, q.SQL, parameters); err != nil {
					b.Fatal(err)
				}
			}
			ask()
			for b.Loop() {
				ask()
			}
			took := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(float64(reads), "rows")
			b.ReportMetric(float64(bytes)/1e6, "MB")
			table = append(table, line{q.Title, took, reads, bytes})
		})
	}
	fmt.Printf("\n%d events [%s]\n\n| question | seconds | million rows read | MB read |\n| --- | --- | --- | --- |\n", rows, machine.Line())
	for _, l := range table {
		fmt.Printf("| %s | %.2f | %.1f | %.0f |\n", l.title, l.took.Seconds(), float64(l.reads)/1e6, float64(l.bytes)/1e6)
	}
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
	m, err := schema.New(server.NativeDSN(), schema.Engines{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(b.Context()); err != nil {
		b.Fatal(err)
	}
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

// progress adds up what the server says it has read for a query.
func progress(ctx context.Context, rows, bytes *uint64) context.Context {
	return chgo.Context(ctx, chgo.WithProgress(func(p *chgo.Progress) {
		*rows += p.Rows
		*bytes += p.Bytes
	}))
}

func queryID(ctx context.Context, id string) context.Context {
	return chgo.Context(ctx, chgo.WithQueryID(id))
}
