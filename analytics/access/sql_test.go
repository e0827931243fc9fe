package access

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// What a server is told, to the letter. The embedded engine cannot run it, but it can read it.
func TestStatements(t *testing.T) {
	a := Analyst{Name: "ann", Tenant: tenantA, PasswordSHA256: strings.Repeat("ab", 32),
		Limits: Limits{MemoryBytes: 1000, QueryTime: time.Minute, QueriesPerHour: 10, ReadRowsPerHour: 20, TimePerHour: time.Hour}}
	s := SQL{Database: "keystone"}
	got := append(s.tenantStatements(a.Tenant, []Table{{Name: "events", Filtered: true}, {Name: "sessions"}}), s.analystStatements(a)...)
	got = append(got, s.dropStatements("ann")...)
	const r = "keystone_tenant_6ba7b8109dad11d180b400c04fd430c8"
	want := []string{
		"CREATE ROLE IF NOT EXISTS " + r,
		"CREATE ROW POLICY IF NOT EXISTS keystone_own ON keystone.`events` FOR SELECT USING 1 TO CURRENT_USER",
		"CREATE ROW POLICY OR REPLACE " + r + " ON keystone.`events` FOR SELECT USING tenant_id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8' TO " + r,
		"GRANT SELECT ON keystone.`events` TO " + r,
		"GRANT SELECT ON keystone.`sessions` TO " + r,
		"CREATE SETTINGS PROFILE OR REPLACE keystone_analyst_ann SETTINGS readonly = '2' CONST, allow_ddl = '0' CONST, " +
			"allow_introspection_functions = '0' CONST, allow_experimental_eval_table_function = '0' CONST, log_queries = '1' CONST, " +
			"distributed_product_mode = 'global' CONST, " +
			"max_concurrent_queries_for_user = '20' CONST, max_memory_usage = '1000' CONST, max_memory_usage_for_user = '1000' CONST, " +
			"max_bytes_before_external_sort = '250' CONST, min_external_sort_block_bytes = '62' CONST, prefer_external_sort_block_bytes = '3' CONST, max_bytes_before_external_group_by = '250' CONST, " +
			"max_temporary_data_on_disk_size_for_user = '16000' CONST, " +
			"max_execution_time = '60' MIN 1 MAX 120, timeout_overflow_mode = 'throw' CONST",
		"CREATE USER ann IDENTIFIED WITH sha256_hash BY '" + a.PasswordSHA256 + "' DEFAULT ROLE NONE SETTINGS PROFILE 'keystone_analyst_ann'",
		"CREATE QUOTA OR REPLACE keystone_analyst_ann KEYED BY user_name FOR INTERVAL 1 hour MAX queries = 10, read_rows = 20, execution_time = 3600 TO ann",
		"GRANT " + r + " TO ann",
		"ALTER USER ann DEFAULT ROLE " + r,
		"DROP USER IF EXISTS ann",
		"DROP QUOTA IF EXISTS keystone_analyst_ann",
		"DROP SETTINGS PROFILE IF EXISTS keystone_analyst_ann",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("statement %d:\n got %q\nwant %q", i, got[i:], want[i:])
		}
	}
	c := SQL{Database: "keystone", cluster: "shop"}
	tables := []Table{{Name: "events"}, {Name: "events_local", Filtered: true}}
	clustered := append(append(c.tenantStatements(a.Tenant, tables), c.analystStatements(a)...), c.dropStatements("ann")...)
	wantClustered := []string{
		"CREATE ROLE IF NOT EXISTS " + r + " ON CLUSTER `shop`",
		"CREATE ROW POLICY IF NOT EXISTS keystone_own ON CLUSTER `shop` ON keystone.`events_local` FOR SELECT USING 1 TO CURRENT_USER",
		"CREATE ROW POLICY OR REPLACE " + r + " ON CLUSTER `shop` ON keystone.`events_local` FOR SELECT USING tenant_id = '6ba7b810-9dad-11d1-80b4-00c04fd430c8' TO " + r,
		"GRANT ON CLUSTER `shop` SELECT ON keystone.`events` TO " + r,
		"GRANT ON CLUSTER `shop` SELECT ON keystone.`events_local` TO " + r,
		strings.Replace(want[5], "keystone_analyst_ann SETTINGS", "keystone_analyst_ann ON CLUSTER `shop` SETTINGS", 1),
		strings.Replace(want[6], "USER ann", "USER ann ON CLUSTER `shop`", 1),
		strings.Replace(want[7], "keystone_analyst_ann", "keystone_analyst_ann ON CLUSTER `shop`", 1),
		"GRANT ON CLUSTER `shop` " + r + " TO ann",
		"ALTER USER ann ON CLUSTER `shop` DEFAULT ROLE " + r,
		"DROP USER IF EXISTS ann ON CLUSTER `shop`",
		"DROP QUOTA IF EXISTS keystone_analyst_ann ON CLUSTER `shop`",
		"DROP SETTINGS PROFILE IF EXISTS keystone_analyst_ann ON CLUSTER `shop`",
	}
	if !slices.Equal(clustered, wantClustered) {
		t.Errorf("on a cluster:\n got %q\nwant %q", clustered, wantClustered)
	}
	got = append(got, clustered...)
	conn, err := query.Open(enginetest.ClickHouse(t).NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range got {
		if _, err := query.Table(t.Context(), conn, "SELECT formatQuery({q:String})", map[string]string{"q": statement}); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, name := range []string{"", "Ann", "1a", "a-b", "keystone", "keystone_x", "default", "boot", "a'; DROP", strings.Repeat("a", 33)} {
		if _, _, err := New(name, tenantA, DefaultLimits()); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, _, err := New("ann", tenantA, Limits{QueryTime: time.Millisecond})
	for _, rule := range []string{"memory_bytes", "query_time", "queries_per_hour", "read_rows_per_hour", "time_per_hour"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not said: %v", rule, err)
		}
	}
	a, one, err := New("ann", tenantA, DefaultLimits())
	b, other, err2 := New("ann", tenantA, DefaultLimits())
	if err != nil || err2 != nil || one == other || a.PasswordSHA256 == b.PasswordSHA256 || len(one) < 40 {
		t.Error("passwords repeat")
	}
}
