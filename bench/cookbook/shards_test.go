package cookbook_test

import (
	"testing"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// The same events, spread over two shards, have the same answers: to every view, every question of the
// cookbook and every panel of the dashboard.
func TestViewsOnShards(t *testing.T) {
	const name = "shop"
	servers := enginetest.Cluster(t, name, 2, nil)
	dsn := servers[0].NativeDSN()
	dsns, err := shard.DSNs(t.Context(), dsn, name)
	if err != nil || len(dsns) != len(servers) {
		t.Fatalf("%q, %v", dsns, err)
	}
	for _, dsn := range dsns {
		schematest.MigrateTo(t, dsn, schema.Engines{Cluster: name})
	}
	w := newWorld(t)
	conn := w.sink(t, dsn, 4)
	for i := range servers {
		shares(t, dsns[i])
	}
	everything(t, w, conn)
}

// shares wants a shard to have a part of the rows and not all, but for what every shard has whole.
func shares(t *testing.T, dsn string) {
	t.Helper()
	conn, err := query.Open(dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, table := range []string{"events", "profiles", "orders", "attribute_changes", "profile_merges", "active_nodes", "page_days", "touches"} {
		var own, all uint64
		if err := conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM "+table+"_local), (SELECT count() FROM "+table+")").Scan(&own, &all); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		if own < all/4 || own > all*3/4 {
			t.Errorf("%s: this shard has %d of %d rows", table, own, all)
		}
	}
}
