package query

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// What one person did is read without what all others did, by whatever node it is found.
func TestPersonEventsReadsLittle(t *testing.T) {
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	conn, err := Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tenant := uuid.New()
	node := func(of string, n any) string {
		return fmt.Sprintf("reinterpretAsUUID(sipHash128('%s', toUInt64(%v)))", of, n)
	}
	const visitors, granule = 300_000, 8192
	for _, statement := range []string{
		// Everybody comes twice, on one day, with a device; every third has said who they are.
		fmt.Sprintf(`INSERT INTO events (tenant_id, message_id, profile_node, identity_node, timestamp, received_at)
			SELECT '%s', toString(number), %s, if(number %% 3 = 0, %s, toUUID('00000000-0000-0000-0000-000000000000')), '2026-11-01 12:00:00', '2026-11-01 12:00:00'
			FROM numbers(%d)`, tenant, node("device", fmt.Sprintf("number %% %d", visitors)), node("person", fmt.Sprintf("number %% %d", visitors)), 2*visitors),
		fmt.Sprintf(`INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version)
			SELECT '%s', arrayJoin([%s, %s]), 0, %s, 1 FROM numbers(%d) WHERE number %% 3 = 0`,
			tenant, node("device", "number"), node("person", "number"), node("person", "number"), visitors),
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, who := range []string{node("person", 30), node("device", 31)} {
		var profile uuid.UUID
		if err := conn.QueryRow(t.Context(), "SELECT "+who).Scan(&profile); err != nil {
			t.Fatal(err)
		}
		var read atomic.Uint64
		ctx := clickhouse.Context(t.Context(), clickhouse.WithProgress(func(p *clickhouse.Progress) { read.Add(p.Rows) }))
		events := 0
		for _, err := range PersonEvents(ctx, conn, tenant, profile) {
			if err != nil {
				t.Fatal(err)
			}
			events++
		}
		if events != 2 {
			t.Errorf("%s: %d events, want 2", who, events)
		}
		// A granule of events; of the map one by the profile and one for each node; and what the filters let through wrongly.
		if n := read.Load(); n == 0 || n > 8*granule {
			t.Errorf("%s: read %d rows of %d events", who, n, 2*visitors)
		}
	}
}
