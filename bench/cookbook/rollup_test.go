package cookbook_test

import (
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/bench/machine"
)

// insertRows is the size of the inserts that BenchmarkRollups measures.
const insertRows = 50_000

// BenchmarkRollups is what the rollups cost: ClickHouse's processor time for a row inserted into events,
// with the materialized views and without them, in turns.
func BenchmarkRollups(b *testing.B) {
	n := insertRows
	if testing.Short() {
		n = 2_000
	}
	conn, _ := filled(b, n)
	must := func(sql string) {
		b.Helper()
		if err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	must("CREATE TABLE source AS events ENGINE = Memory")
	must("INSERT INTO source SELECT * FROM events")
	views := []string{"active_nodes_fill", "page_days_fill", "touches_fill"}
	var with, without time.Duration
	runs := 0
	for b.Loop() {
		with += insertion(b, conn)
		for _, v := range views {
			must("DETACH TABLE " + v)
		}
		without += insertion(b, conn)
		for _, v := range views {
			must("ATTACH TABLE " + v)
		}
		runs++
	}
	perRow := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(runs*n) }
	b.ReportMetric(perRow(with), "µs/row")
	b.ReportMetric(perRow(without), "µs/row-without")
	machine.Print("rollups", "ClickHouse's CPU for a row into events: %.1f µs with the rollups, %.1f without, inserts of %d rows", perRow(with), perRow(without), n)
}

// insertion is the processor time of one insert.
func insertion(b *testing.B, conn driver.Conn) time.Duration {
	b.Helper()
	var text string
	if err := conn.QueryRow(b.Context(), "SELECT toString(generateUUIDv4())").Scan(&text); err != nil {
		b.Fatal(err)
	}
	id := "rollup-cost-" + text
	ctx := queryID(b.Context(), id)
	if err := conn.Exec(ctx, "INSERT INTO events SELECT * FROM source"); err != nil {
		b.Fatal(err)
	}
	return time.Duration(costOf(b, conn, id)[1] * float64(time.Second))
}
