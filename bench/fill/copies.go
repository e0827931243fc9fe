package fill

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/query"
)

// copied are the tables that Copies multiplies and what is another in each copy, in SQL. Products are
// the shop's: all copies share them.
var copied = []struct {
	table   string
	changes map[string]string
}{
	{"events", map[string]string{
		"message_id": text("message_id"), "profile_node": node("profile_node"), "identity_node": node("identity_node"),
		"anonymous_id": text("anonymous_id"), "order_id": text("order_id"), "partition": place,
	}},
	{"identity_map", map[string]string{"node": node("node"), "value": text("value"), "profile_id": node("profile_id")}},
	{"profiles", map[string]string{"profile_id": node("profile_id"), "merged_into": node("merged_into")}},
	{"attribute_changes", map[string]string{"profile_id": node("profile_id"), "partition": place}},
	{"profile_merges", map[string]string{
		"merge_id": node("merge_id"), "winner_id": node("winner_id"), "loser_id": node("loser_id"), "partition": place,
	}},
	{"orders", map[string]string{"order_id": text("order_id"), "profile_id": node("profile_id")}},
}

const place = "partition + 1000 * copy"

// text is a column of texts that are to be told from those of other copies.
func text(column string) string {
	return "if(" + column + " = '', '', concat(" + column + ", '-', toString(copy)))"
}

// node is a column of ids; no id stays none.
func node(column string) string {
	const none = "toUUID('00000000-0000-0000-0000-000000000000')"
	return "if(" + column + " = " + none + ", " + none + ", reinterpret(bitXor(reinterpret(" + column + ", 'UInt128'), bitShiftLeft(toUInt128(copy), 40)), 'UUID'))"
}

// Copies makes of what the tables hold n times as much: as many other visitors and people, with the
// same behaviour at the same times. It is to be called once.
func Copies(tb testing.TB, dsn string, n int) {
	tb.Helper()
	conn, err := query.Open(dsn, 1)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // what was inserted is acknowledged
	for _, c := range copied {
		columns, err := columnsOf(tb.Context(), conn, c.table)
		if err != nil {
			tb.Fatal(err)
		}
		values := make([]string, len(columns))
		for i, name := range columns {
			columns[i] = "`" + name + "`"
			values[i] = columns[i]
			if changed, ok := c.changes[name]; ok {
				values[i] = changed
			}
		}
		// A statement reads the parts there are when it begins, and none that it makes.
		err = conn.Exec(tb.Context(), fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s ARRAY JOIN range(1, %d) AS copy",
			c.table, strings.Join(columns, ", "), strings.Join(values, ", "), c.table, n))
		if err != nil {
			tb.Fatalf("copy %s: %v", c.table, err)
		}
	}
}

// columnsOf are the columns of a table that are stored and can be inserted.
func columnsOf(ctx context.Context, conn driver.Conn, table string) (columns []string, err error) {
	err = conn.QueryRow(ctx, `
SELECT groupArray(name) FROM (
	SELECT name FROM system.columns WHERE database = currentDatabase() AND table = $1 AND default_kind IN ('', 'DEFAULT') ORDER BY position
)`, table).Scan(&columns)
	return columns, err
}
