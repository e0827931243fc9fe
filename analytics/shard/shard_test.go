package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

const described = `SELECT arrayStringConcat(groupArray(line), '\n') FROM (SELECT name || ' ' || engine || ' ' || create_table_query AS line
	FROM system.tables WHERE database = currentDatabase() AND name != 'schema_migrations' ORDER BY name)`

// The schema goes up on every shard, down and up again; who asks is told where the rows are; and what is set
// for rows that grow old is set on each.
func TestShards(t *testing.T) {
	name, servers := enginetest.Cluster(t, 2, nil)
	dsn := servers[0].NativeDSN()
	dsns, err := DSNs(t.Context(), dsn, name)
	if err != nil || !slices.Equal(dsns, []string{dsn, servers[1].NativeDSN()}) {
		t.Fatalf("%q, %v", dsns, err)
	}
	if _, err := DSNs(t.Context(), dsn, "another"); err == nil || !strings.Contains(err.Error(), "remote_servers") {
		t.Errorf("a cluster that is not there: %v", err)
	}
	if _, err := DSNs(t.Context(), dsn, ""); err == nil || !strings.Contains(err.Error(), "keystone migrate") {
		t.Errorf("before there are tables: %v", err)
	}
	var first string
	for i, dsn := range dsns {
		m := migrator(t, dsn, schema.Engines{Cluster: name})
		up(t, m)
		db := open(t, dsn)
		schemaOf := ask(t, db, described)
		if i == 0 {
			first = schemaOf
		}
		if err := m.DownTo(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if left := ask(t, db, described); left != "" {
			t.Errorf("left after down: %s", left)
		}
		up(t, m)
		up(t, m)
		if again := ask(t, db, described); again != schemaOf || again != first {
			t.Errorf("another schema:\n%s\nwant\n%s", again, first)
		}
		for _, other := range []schema.Engines{{}, {Cluster: "another"}, {Cluster: name, Replicated: true}} {
			if _, err := migrator(t, dsn, other).Up(t.Context()); err == nil || !strings.Contains(err.Error(), "was made for") {
				t.Errorf("%+v: %v", other, err)
			}
		}
		tenant := uuid.New()
		for _, want := range []bool{true, false} {
			if changed, err := m.Retain(t.Context(), map[uuid.UUID]int{tenant: 30}); err != nil || changed != want {
				t.Errorf("retain: %v, %v", changed, err)
			}
		}
		if text := ask(t, db, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'touches_local'"); !strings.Contains(text, tenant.String()) {
			t.Errorf("the rollups' parts keep their rows: %s", text)
		}
	}

	// Every table and column explains itself here as well.
	if bare := ask(t, open(t, dsn), `SELECT arrayStringConcat(groupArray(concat(table, '.', name)), ' ') FROM system.columns
		WHERE database = currentDatabase() AND comment = '' AND table NOT LIKE '%_fill'`); bare != "" {
		t.Errorf("columns without a comment: %s", bare)
	}
	if bare := ask(t, open(t, dsn), `SELECT arrayStringConcat(groupArray(name), ' ') FROM system.tables WHERE database = currentDatabase() AND comment = ''`); bare != "" {
		t.Errorf("tables without a comment: %s", bare)
	}

	found, err := DSNs(t.Context(), dsns[1], "")
	if err != nil || !slices.Equal(found, dsns) {
		t.Errorf("from the second shard: %q, %v", found, err)
	}
	servers2, err := Open(dsn, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer servers2.Close()
	set, err := servers2.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.All()) != 2 || set.Of(0) == set.Of(1) || set.Of(2) != set.Of(0) || set.Local("events") != "events_local" || set.Local("products") != "products" {
		t.Errorf("%+v", set)
	}
	if err := servers2.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	// Who fails is named, and keeps nobody from the rest.
	lost, asked := errors.New("lost"), make([]bool, 2)
	err = set.Each(func(i int, _ driver.Conn) error { asked[i] = true; return lost })
	if !errors.Is(err, lost) || !asked[0] || !asked[1] || !strings.Contains(err.Error(), "shard 1 of 2 ("+set.Hosts[0]+"): lost\nshard 2 of 2 ("+set.Hosts[1]+"): lost") {
		t.Errorf("%v: %v", asked, err)
	}
	// Nobody can insert without saying where.
	conn, err := query.Open(dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "INSERT INTO events (message_id) VALUES ('x')"); err == nil {
		t.Error("a row went to no shard in particular")
	}
}

// What places a row is the same in Go, which writes, and in SQL, which copies.
func TestPlacesAgree(t *testing.T) {
	enginetest.OneServer(t, "it is arithmetic")
	db := open(t, enginetest.ClickHouse(t).NativeDSN)
	for i := range 20 {
		tenant, id := uuid.New(), uuid.NewSHA1(uuid.NameSpaceURL, []byte{byte(i)})
		for _, shards := range []int{2, 3, 7} {
			profile, order, partition := OfProfile(id, shards), OfOrder(tenant, "O-'ü"+id.String(), shards), OfPartition(int32(i), shards)
			text := ask(t, db, fmt.Sprintf(`SELECT toString(((%s), (%s), (%s), (%s))) FROM
				(SELECT toUUID('%s') AS tenant_id, toUUID('%s') AS profile_id, 'O-\'ü%s' AS order_id, toInt32(%d) AS partition)`,
				Condition("profiles", profile, shards), Condition("orders", order, shards), Condition("events", partition, shards), Condition("products", 0, shards),
				tenant, id, id, i))
			if text != "(1,1,1,1)" {
				t.Errorf("%d shards: %s of profile %s, order of %s, partition %d", shards, text, id, tenant, i)
			}
		}
	}
}

// One server is what it always was.
func TestOneServer(t *testing.T) {
	enginetest.OneServer(t, "it is about one")
	dsn := enginetest.ClickHouse(t).NativeDSN
	servers, err := Open(dsn, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	if _, err := servers.Get(t.Context()); err == nil || !strings.Contains(err.Error(), "keystone migrate") {
		t.Errorf("before there are tables: %v", err)
	}
	up(t, migrator(t, dsn, schema.Engines{}))
	set, err := servers.Get(t.Context())
	if err != nil || len(set.All()) != 1 || set.Of(7) != set.Of(0) || set.Local("events") != "events" {
		t.Errorf("%+v, %v", set, err)
	}
	if all, err := DSNs(t.Context(), dsn, ""); err != nil || !slices.Equal(all, []string{dsn}) {
		t.Errorf("%q, %v", all, err)
	}
}

func TestDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"clickhouse://a:9000": "clickhouse://s:1/",
		"clickhouse://u:p%40@a:9000,b:9000/keystone?secure=true&x=/": "clickhouse://u:p%40@s:1/keystone?secure=true&x=/",
		"clickhouse://a/keystone?":                                   "clickhouse://s:1/keystone?",
	} {
		if got, err := DSN(dsn, "s:1"); err != nil || got != want {
			t.Errorf("%s: %s, %v", dsn, got, err)
		}
	}
	if _, err := DSN("u:hidden@h", "h:1"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
}

func migrator(t *testing.T, dsn string, engines schema.Engines) *schema.Migrator {
	t.Helper()
	m, err := schema.New(dsn, engines)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func up(t *testing.T, m *schema.Migrator) {
	t.Helper()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	opt, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := clickhouse.OpenDB(opt)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func ask(t *testing.T, db *sql.DB, question string) (text string) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), question).Scan(&text); err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return text
}
