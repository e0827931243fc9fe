package schema

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
)

// Each tenant's rows go when their event time says so, and nobody else's.
func TestRetention(t *testing.T) {
	m, db := open(t)
	up(t, m)
	short, long, forever := uuid.New(), uuid.New(), uuid.New()
	for i, tenant := range []uuid.UUID{short, long, forever} {
		for j, days := range []int{0, 40, 400} {
			exec(t, db, `INSERT INTO events (tenant_id, message_id, timestamp, topic, partition, offset, loaded_at)
				VALUES (?, ?, now64(3) - toIntervalDay(?), 't', 0, ?, now64(3))`, tenant.String(), fmt.Sprintf("%d days", days), days, 10*i+j)
		}
	}
	left := func(tenant uuid.UUID) string {
		t.Helper()
		exec(t, db, "OPTIMIZE TABLE events FINAL") // what ClickHouse does by itself, later
		return ask(t, db, "SELECT message_id FROM events WHERE tenant_id = ? ORDER BY timestamp DESC", tenant.String())
	}
	retain := func(want bool, days map[uuid.UUID]int) {
		t.Helper()
		changed, err := m.Retain(t.Context(), days)
		if err != nil || changed != want {
			t.Fatalf("changed: %v, %v", changed, err)
		}
	}
	retain(false, map[uuid.UUID]int{forever: 0})
	retain(true, map[uuid.UUID]int{short: 30, long: 90, forever: 0})
	retain(false, map[uuid.UUID]int{short: 30, long: 90})
	for tenant, want := range map[uuid.UUID]string{short: "0 days", long: "0 days\n40 days", forever: "0 days\n40 days\n400 days"} {
		if got := left(tenant); got != want {
			t.Errorf("%s has %q, want %q", tenant, got, want)
		}
	}
	for _, table := range []string{"touches", "active_nodes", "page_days"} { // the rollups go with them
		exec(t, db, "OPTIMIZE TABLE "+table+" FINAL")
		if got := ask(t, db, "SELECT toString(count()) FROM "+table+" WHERE tenant_id = ?", short.String()); table == "active_nodes" && got != "1" || table != "active_nodes" && got != "0" {
			t.Errorf("%s of the first tenant: %s rows", table, got)
		}
	}
	if got := ask(t, db, "SELECT toString(count()) FROM active_nodes WHERE tenant_id = ?", forever.String()); got != "3" {
		t.Errorf("active_nodes of the last tenant: %s rows", got)
	}
	retain(true, map[uuid.UUID]int{forever: 365})
	for tenant, want := range map[uuid.UUID]string{long: "0 days\n40 days", forever: "0 days\n40 days"} {
		if got := left(tenant); got != want {
			t.Errorf("%s has %q, want %q", tenant, got, want)
		}
	}
	retain(true, nil)
	if names := up(t, m); len(names) != 0 {
		t.Errorf("applied again: %v", names)
	}
}
