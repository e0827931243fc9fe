package schema

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// What is old moves to the volume for it and goes on being asked, and neither rule takes the other's place.
func TestTiering(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	cfg.ColdDir = t.TempDir()
	server := enginetest.ServeClickHouse(t, cfg)
	m, err := New(server.NativeDSN(), Engines{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	opt, err := clickhouse.ParseDSN(server.NativeDSN())
	if err != nil {
		t.Fatal(err)
	}
	db := clickhouse.OpenDB(opt)
	t.Cleanup(func() { _ = db.Close() })
	up(t, m)
	short := uuid.New()
	for _, days := range []int{0, 40} { // a part each
		exec(t, db, `INSERT INTO events (tenant_id, message_id, timestamp, loaded_at) VALUES (?, ?, now64(3), now64(3) - toIntervalDay(?))`, uuid.New().String(), "kept", days)
	}
	exec(t, db, `INSERT INTO events (tenant_id, message_id, timestamp, loaded_at) VALUES (?, 'forgotten', now64(3) - toIntervalDay(400), now64(3) - toIntervalDay(40))`, short.String())

	tier := func(want bool, tiering Tiering) {
		t.Helper()
		if changed, err := m.Tier(t.Context(), tiering); err != nil || changed != want {
			t.Fatalf("%+v: changed %v, %v", tiering, changed, err)
		}
	}
	retain := func(want bool, days map[uuid.UUID]int) {
		t.Helper()
		if changed, err := m.Retain(t.Context(), days); err != nil || changed != want {
			t.Fatalf("%v: changed %v, %v", days, changed, err)
		}
	}
	tier(false, Tiering{})
	retain(true, map[uuid.UUID]int{short: 365})
	tier(true, Tiering{Policy: "tiered", Volume: "cold", AfterDays: 30})
	tier(false, Tiering{Policy: "tiered", Volume: "cold", AfterDays: 30})
	retain(false, map[uuid.UUID]int{short: 365})
	exec(t, db, "OPTIMIZE TABLE events FINAL") // what ClickHouse does by itself, later
	if got := ask(t, db, "SELECT message_id FROM events ORDER BY message_id"); got != "kept\nkept" {
		t.Errorf("left: %q", got)
	}
	waitForCold(t, db)

	retain(true, nil) // and the other rule stays
	tier(false, Tiering{Policy: "tiered", Volume: "cold", AfterDays: 30})
	tier(true, Tiering{Policy: "tiered"}) // nothing moves any more
	if got := ask(t, db, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'events'"); strings.Contains(got, "TTL") {
		t.Error(got)
	}
}

// waitForCold waits until the mover has come by, which nothing can call.
func waitForCold(t *testing.T, db *sql.DB) {
	t.Helper()
	const moved = `SELECT name FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active
		AND disk_name = 'cold' AND toYYYYMM(now() - toIntervalDay(40)) = toUInt32(partition)`
	for ask(t, db, moved) == "" {
		if t.Context().Err() != nil {
			t.Fatal("nothing moved")
		}
	}
	if got := ask(t, db, "SELECT DISTINCT disk_name FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active AND partition = toString(toYYYYMM(now()))"); got != "default" {
		t.Errorf("what is new is on %q", got)
	}
}

func TestTieringRefuses(t *testing.T) {
	for name, tiering := range map[string]Tiering{
		"a volume without days":    {Policy: "tiered", Volume: "cold"},
		"days without a volume":    {Policy: "tiered", AfterDays: 3},
		"a volume of no policy":    {Volume: "cold", AfterDays: 3},
		"days that are negative":   {Policy: "tiered", AfterDays: -1},
		"a name that is no name":   {Policy: "tiered'; DROP"},
		"a volume that is no name": {Policy: "tiered", Volume: "a b", AfterDays: 1},
	} {
		if tiering.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (Tiering{}).Validate(); err != nil {
		t.Error(err)
	}
}
