package rollup

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/analytics/shard"
	embedded "github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// open migrates a database and connects: to ask, and to write as the sink does.
func open(t *testing.T, dsn string) (driver.Conn, *shard.Servers) {
	t.Helper()
	schematest.Migrate(t, dsn)
	conn, err := query.Open(dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	servers, err := shard.Open(dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = servers.Close() })
	return conn, servers
}

// rows are page views of visitors by hundreds, some of bots, some with campaigns, over days.
const rows = `
SELECT toUUID('6ba7b810-9dad-11d1-80b4-00c04fd430c8') AS tenant_id, 'm' || toString(number) AS message_id, 'page' AS event_type,
	toUUID(concat('00000000-0000-5000-8000-', leftPad(toString(number %% 97), 12, '0'))) AS profile_node,
	toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + number * 61 AS timestamp, toDateTime64('2026-12-01 00:00:00', 6, 'UTC') + number AS received_at,
	'shop.example' AS host, '/' || toString(number %% 13) AS path, if(number %% 5 = 0, 'fall', '') AS utm_campaign,
	if(number %% 11 = 0, 'bot', 'desktop') AS device_class, 'keystone.events' AS topic, toInt32(%d) AS partition, toInt64(number) AS offset,
	toDateTime64('2026-12-02 00:00:00', 3, 'UTC') + %d AS loaded_at
FROM numbers(%d, %d)`

const insert = `INSERT INTO %s (tenant_id, message_id, event_type, profile_node, timestamp, received_at, host, path, utm_campaign, device_class, topic, partition, offset, loaded_at)`

// put inserts offsets of a partition as the sink does: in one insert, under a token of their own.
func put(ctx context.Context, servers *shard.Servers, partition, first, n int) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": fmt.Sprintf("%d/%d-%d", partition, first, first+n-1), "max_insert_threads": 1}))
	return exec(ctx, servers, partition, partition, first, first, n)
}

// exec inserts rows into the shard of a partition.
func exec(ctx context.Context, servers *shard.Servers, partition int, which ...any) error {
	set, err := servers.Get(ctx)
	if err != nil {
		return err
	}
	return set.Of(int32(partition)).Exec(ctx, fmt.Sprintf(insert, set.Local("events"))+fmt.Sprintf(rows, which...))
}

// everywhere runs a statement about a rollup on all shards.
func everywhere(t *testing.T, servers *shard.Servers, statement, table string) {
	t.Helper()
	set, err := servers.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range set.All() {
		if err := conn.Exec(t.Context(), fmt.Sprintf(statement, table)); err != nil {
			t.Fatal(err)
		}
	}
}

// differences are, by rollup, in how many rows it and the events are of two minds.
var differences = map[string]string{
	"active_nodes": `
SELECT count() FROM
(
	SELECT day, node, min(first_at) AS a, min(first_received) AS b, max(last_received) AS c FROM active_nodes GROUP BY day, node
) AS r
FULL JOIN
(
	SELECT toDate(timestamp) AS day, profile_node AS node, min(timestamp) AS a, min(received_at) AS b, max(received_at) AS c
	FROM events WHERE device_class != 'bot' GROUP BY day, node
) AS e ON r.day = e.day AND r.node = e.node
WHERE r.a != e.a OR r.b != e.b OR r.c != e.c`,
	"page_days": `
SELECT count() FROM
(
	SELECT day, path, sum(n) AS views FROM (SELECT day, path, partition, groupBitmapMerge(offsets) AS n FROM page_days GROUP BY day, path, partition) GROUP BY day, path
) AS r
FULL JOIN
(
	SELECT toDate(timestamp) AS day, path, uniqExact(partition, offset) AS views FROM events WHERE device_class != 'bot' GROUP BY day, path
) AS e ON r.day = e.day AND r.path = e.path
WHERE r.views != e.views`,
	"touches": `
SELECT count() FROM (SELECT partition, offset, 1 AS x FROM touches FINAL) AS r
FULL JOIN (SELECT DISTINCT partition, offset, 1 AS x FROM events WHERE device_class != 'bot' AND utm_campaign != '') AS e
	ON r.partition = e.partition AND r.offset = e.offset
WHERE r.x != e.x`,
}

func agree(t *testing.T, conn driver.Conn, want bool) {
	t.Helper()
	for name, sql := range differences {
		var n uint64
		if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if (n == 0) != want {
			t.Errorf("%s: %d rows differ from events", name, n)
		}
	}
}

// What is inserted again, whole, in part, in other cuts, changes nothing; what was kept from a rollup
// is caught up.
func TestExactHoweverOften(t *testing.T) {
	conn, servers := open(t, enginetest.ClickHouse(t).NativeDSN)
	ctx := t.Context()
	if err := Catch(ctx, servers); err != nil {
		t.Fatalf("of nothing: %v", err)
	}
	for partition := range 2 {
		if err := put(ctx, servers, partition, 0, 1000); err != nil {
			t.Fatal(err)
		}
	}
	agree(t, conn, true)
	for _, again := range [][4]any{{0, 0, 0, 1000}, {1, 0, 500, 900}, {0, 7, 3, 4}} {
		// Without a token: events has them twice, and the rollups must not care.
		if err := exec(ctx, servers, again[0].(int), again[:]...); err != nil {
			t.Fatal(err)
		}
	}
	agree(t, conn, true)
	for _, table := range []string{"active_nodes", "page_days", "touches"} {
		everywhere(t, servers, "DETACH TABLE %s_fill", table)
	}
	if err := put(ctx, servers, 1, 5000, 1000); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"active_nodes", "page_days", "touches"} {
		everywhere(t, servers, "ATTACH TABLE %s_fill", table)
	}
	agree(t, conn, false)
	for range 2 {
		if err := Catch(ctx, servers); err != nil {
			t.Fatal(err)
		}
		agree(t, conn, true)
	}
	for table := range differences {
		set, err := servers.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		everywhere(t, servers, "OPTIMIZE TABLE %s FINAL", set.Local(table))
	}
	agree(t, conn, true)
}

// ClickHouse is killed in the middle of inserts, and whoever inserted resumes from the table, as the sink does.
func TestExactAfterKills(t *testing.T) {
	enginetest.OneServer(t, "it is one that is killed")
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	server, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	conn, servers := open(t, server.NativeDSN())
	const kills, batch = 6, 2000
	for kill := range kills {
		dead := make(chan struct{})
		restarts := server.Restarts()
		go func() {
			defer close(dead)
			for n := 0; ; n++ { // until it dies
				var next int64
				err := conn.QueryRow(t.Context(), "SELECT if(count() = 0, 0, max(offset) + 1) FROM events").Scan(&next)
				if err == nil {
					err = put(t.Context(), servers, 0, int(next), batch)
				}
				if err != nil {
					return
				}
				if n == 3+kill%2 { // it has inserted some, and is at the next
					go func() { _ = syscall.Kill(server.Pid(), syscall.SIGKILL) }()
				}
			}
		}()
		<-dead
		for begin := time.Now(); server.Restarts() == restarts || conn.Ping(t.Context()) != nil; time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > 3*time.Minute {
				t.Fatal("ClickHouse does not come back")
			}
		}
		if err := Catch(t.Context(), servers); err != nil {
			t.Fatal(err)
		}
		agree(t, conn, true)
	}
	var n, distinct uint64
	if err := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(offset) FROM events").Scan(&n, &distinct); err != nil {
		t.Fatal(err)
	}
	if n != distinct || n%batch != 0 || n < kills*3*batch {
		t.Errorf("%d events at %d offsets", n, distinct)
	}
}
