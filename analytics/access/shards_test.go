package access

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// shardRows are two tenants' on every shard.
var shardRows = []string{
	`INSERT INTO events_local (tenant_id, message_id, event_type, path, profile_node, received_at, timestamp, loaded_at, utm_source)
		SELECT arrayJoin([{a}, {b}]) AS tenant, '{shard}-' || toString(number), 'page', '/' || if(tenant = {b}, 'secretb', 'a'),
		toUUID('00000000-0000-5000-8000-00000000000{shard}'), '2026-11-20 10:00:00', '2026-11-20 10:00:00', now64(3), 'x' FROM numbers(5)`,
	`INSERT INTO profiles_local (tenant_id, profile_id, kind, version) SELECT arrayJoin([{a}, {b}]), toUUID('00000000-0000-5000-8000-00000000000{shard}'), 'anchor', 1`,
	`INSERT INTO orders_local (tenant_id, order_id, profile_id, status, completed_at, version)
		SELECT arrayJoin([{a}, {b}]), 'O{shard}', toUUID('00000000-0000-5000-8000-00000000000{shard}'), 'completed', '2026-11-20 10:00:00', 1`,
	`INSERT INTO attribute_changes_local (tenant_id, profile_id) SELECT arrayJoin([{a}, {b}]), generateUUIDv4()`,
	`INSERT INTO profile_merges_local (tenant_id, merge_id) SELECT arrayJoin([{a}, {b}]), generateUUIDv4()`,
	`INSERT INTO identity_map (tenant_id, node, profile_id, version) SELECT arrayJoin([{a}, {b}]), toUUID('00000000-0000-5000-8000-000000000001'), toUUID('00000000-0000-5000-8000-000000000001'), 1`,
	`INSERT INTO products (tenant_id, product_id) SELECT arrayJoin([{a}, {b}]), 'P'`,
}

// shardedAnalyst is a login of tenant A, known to the first ones of two shards, who asks the first.
func shardedAnalyst(t *testing.T, known int, configure func(*clickhouse.Config)) driver.Conn {
	t.Helper()
	name, servers := enginetest.Cluster(t, 2, configure)
	a, password, err := New("ann", tenantA, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for i, server := range servers {
		schematest.MigrateTo(t, schema.Engines{Cluster: name}, server.NativeDSN())
		own, err := query.Open(server.NativeDSN(), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range shardRows {
			statement = strings.NewReplacer("{a}", "toUUID('"+tenantA.String()+"')", "{b}", "toUUID('"+tenantB.String()+"')", "{shard}", fmt.Sprint(i+1)).Replace(statement)
			if err := own.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%v: %s", err, statement)
			}
		}
		tables, err := Tables(t.Context(), own)
		if err != nil {
			t.Fatal(err)
		}
		if err := own.Close(); err != nil {
			t.Fatal(err)
		}
		if i >= known {
			continue
		}
		if err := server.SetUsers(t.Context(), Contents{Tables: tables, Analysts: []Analyst{a}}.Users(clickhouse.Database)); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(servers[0].NativeDSN())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(a.Name, password)
	conn, err := query.Open(u.String(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const clusterHole = "other tenants' rows"

// An analyst who asks one server sees the tenant's rows of all shards, and nobody else's of any.
func TestIsolationOnShards(t *testing.T) {
	ann := shardedAnalyst(t, 2, nil)
	for _, table := range []string{"events", "events_resolved", "order_items", "profiles", "orders", "attribute_changes", "profile_merges",
		"active_nodes", "page_days", "touches", "identity_map", "products", "sessions", "events_local", "events_resolved_local"} {
		answer, err := query.Table(t.Context(), ann, "SELECT countIf(tenant_id = {own:UUID}), countIf(tenant_id != {own:UUID}) FROM "+table, map[string]string{"own": tenantA.String()})
		if err != nil {
			t.Errorf("%s: %v", table, err)
			continue
		}
		if own, others := answer.Rows[0][0], answer.Rows[0][1]; others != "0" || own == "0" && table != "order_items" {
			t.Errorf("%s: %s own rows and %s of others", table, own, others)
		}
	}
	for question, want := range map[string]string{
		"SELECT count() FROM events": "10",
		"SELECT sum(views), uniqExact(path) FROM top_pages(tenant = {own:UUID}, since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00')":                                                         "10 1",
		"SELECT sum(views) FROM top_pages(tenant = {other:UUID}, since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00')":                                                                        "0",
		"SELECT sum(people) FROM daily_active(tenant = {other:UUID}, since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00')":                                                                    "0",
		"SELECT sum(events) FROM identity_quality(tenant = {own:UUID}, since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00')":                                                                  "10",
		"SELECT uniqExact(order_id) FROM attributed_orders(tenant = {own:UUID}, since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00', model = 'last', lookback_days = 30, half_life_days = 7)": "2",
		// What is looked up or joined is on other shards too.
		"SELECT count() FROM events_resolved WHERE profile_id IN (SELECT profile_id FROM orders FINAL WHERE order_id = 'O2')":                          "5",
		"SELECT count(), uniqExact(o.order_id) FROM events_resolved AS e JOIN (SELECT profile_id, order_id FROM orders FINAL) AS o USING (profile_id)": "10 2",
		"SELECT count() FROM events WHERE tenant_id != {own:UUID} OR path LIKE '%secretb%'":                                                            "0",
	} {
		answer, err := query.Table(t.Context(), ann, question, map[string]string{"own": tenantA.String(), "other": tenantB.String()})
		if err != nil {
			t.Errorf("%s: %v", question, err)
			continue
		}
		if got := strings.Join(answer.Rows[0], " "); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	holes, err := Holes(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(holes, isClusterHole) {
		t.Errorf("%q", holes)
	}
}

func isClusterHole(hole string) bool { return strings.Contains(hole, clusterHole) }

// A server that knows nothing of the analyst, and is logged in to by the others as the pipeline, answers with
// the pipeline's rights: no login may be handed out there.
func TestUnknownToAShardIsAHole(t *testing.T) {
	ann := shardedAnalyst(t, 1, func(cfg *clickhouse.Config) { cfg.Cluster.Password, cfg.Cluster.Secret = cfg.Cluster.Secret, "" })
	holes, err := Holes(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(holes, isClusterHole) {
		t.Errorf("it is not found: %q", holes)
	}
}
