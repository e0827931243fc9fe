package query

import (
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func TestPositions(t *testing.T) {
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	conn, err := Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if all, err := Positions(t.Context(), conn); err != nil || len(all) != 0 {
		t.Errorf("an empty database: %v, %v", all, err)
	}
	for _, statement := range []string{
		`INSERT INTO sink_positions (topic, partition, next_offset, updated_at) VALUES ('keystone.events', 0, 5, 1), ('keystone.events', 1, 9, 1), ('keystone.changes', 0, 2, 1), ('keystone.backfill', 0, 3, 1)`,
		`INSERT INTO sink_positions (topic, partition, next_offset, updated_at) VALUES ('keystone.events', 0, 7, 2)`,
		`INSERT INTO sink_positions (topic, partition, next_offset, log_since, updated_at) VALUES ('keystone.backfill', 0, 3, '2026-11-23 00:00:00.000', 2)`,
		`INSERT INTO events (topic, partition, offset, loaded_at) VALUES ('keystone.events', 0, 41, now64(3)), ('keystone.events', 1, 3, now64(3)), ('keystone.backfill', 0, 90, '2026-11-22 23:59:59.999'), ('keystone.backfill', 0, 5, '2026-11-23 00:00:00.000')`,
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	got, err := Positions(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	want := []Position{{"keystone.backfill", 0, 6}, {"keystone.changes", 0, 2}, {"keystone.events", 0, 42}, {"keystone.events", 1, 9}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
}

func TestTable(t *testing.T) {
	db := enginetest.ClickHouse(t)
	conn, err := Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sql := `SELECT {tenant:UUID} AS t, toDecimal128('1.10', 9) AS d, CAST(NULL, 'Nullable(Decimal(9, 2))') AS n,
		toDateTime64('2026-11-23 12:00:00.5', 3, 'UTC') AS at, toDate('2026-11-23') AS day, ['a', 'b'] AS list, CAST('x', 'LowCardinality(String)') AS l`
	tenant := uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	a, err := Table(t.Context(), conn, sql, map[string]string{"tenant": tenant.String()})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(a.Columns, " "); got != "t d n at day list l" {
		t.Error(got)
	}
	if got := strings.Join(a.Rows[0], " | "); got != tenant.String()+" | 1.1 |  | 2026-11-23 12:00:00 | 2026-11-23 | [a b] | x" {
		t.Error(got)
	}
	if _, err := Table(t.Context(), conn, "SELECT nonsense", nil); err == nil {
		t.Error("nonsense was answered")
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open("postgres://user:secret@ho st/", 2); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
