package erase

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

var (
	tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// open is a database of the test's, on all shards where the tests run on shards.
func open(t *testing.T) *shard.Servers {
	t.Helper()
	return serve(t, migrated(t))
}

func migrated(t *testing.T) (dsn string) {
	t.Helper()
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	return db.NativeDSN
}

func serve(t *testing.T, dsn string) *shard.Servers {
	t.Helper()
	servers, err := shard.Open(dsn, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = servers.Close() })
	return servers
}

func setOf(t *testing.T, servers *shard.Servers) *shard.Set {
	t.Helper()
	set, err := servers.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// first is where erasures are.
func first(t *testing.T) driver.Conn { return setOf(t, open(t)).First() }

// What SQL removes is what event.Erasures says is erased: whatever the spans, whatever the times.
func TestConditionsAreTheRule(t *testing.T) {
	servers, random := open(t), rand.New(rand.NewPCG(1, 2))
	conn, set := servers.Home(), setOf(t, servers)
	nodes := make([]uuid.UUID, 5)
	for i := range nodes {
		nodes[i] = event.NodeID(tenant, event.KindAnonymous, fmt.Sprint(i))
	}
	// Times that meet each other, to the microsecond.
	moment := func() time.Time {
		return noon.Add(time.Duration(random.IntN(8)) * 500 * time.Microsecond).Add(time.Duration(random.IntN(3)-1) * time.Microsecond)
	}
	p := &Person{Tenant: tenant}
	covers := map[uuid.UUID]event.Erasures{}
	for i, node := range nodes[:4] {
		n := Node{Node: node, Erasure: event.Erasure{At: noon.Add(3 * time.Millisecond)}}
		if i > 0 {
			n.From = moment()
		}
		if i > 1 {
			n.Until = n.From.Add(time.Duration(1+random.IntN(2000)) * time.Microsecond)
		}
		p.Nodes = append(p.Nodes, n)
		covers[node] = covers[node].With(n.Erasure)
	}
	var batches []driver.Batch
	for _, conn := range set.All() {
		batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO "+set.Local("events")+" (tenant_id, profile_node, identity_node, timestamp, received_at, topic, partition, offset, loaded_at)")
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, batch)
	}
	var want []int64
	for offset := range int64(4000) {
		device, identity, received := nodes[random.IntN(len(nodes))], uuid.Nil, moment()
		at := received
		if random.IntN(2) == 0 {
			at = received.Add(-time.Duration(random.IntN(3000)) * time.Microsecond)
		}
		of := tenant
		switch random.IntN(4) {
		case 0:
			identity = nodes[random.IntN(len(nodes))]
		case 1:
			of = uuid.Nil
		}
		verified := identity != uuid.Nil
		if of == tenant && (covers[device].Covers(at, received, verified) || covers[identity].Covers(at, received, verified)) {
			want = append(want, offset)
		}
		partition := int32(random.IntN(3))
		if err := batches[shard.OfPartition(partition, len(batches))].Append(of, device, identity, at, received, event.TopicEvents, partition, offset, noon); err != nil {
			t.Fatal(err)
		}
	}
	for _, batch := range batches {
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), "SELECT offset FROM events WHERE "+strings.Join(joined(p.events()), "")+" ORDER BY offset")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []int64
	for rows.Next() {
		var offset int64
		if err := rows.Scan(&offset); err != nil {
			t.Fatal(err)
		}
		got = append(got, offset)
	}
	if rows.Err() != nil || !slices.Equal(got, want) || len(want) < 1000 || len(want) > 2800 {
		t.Errorf("SQL finds %d, the rule %d: %v", len(got), len(want), rows.Err())
	}
	removed := map[string]uint64{}
	p.Profiles, p.Settings = nodes[:1], new(event.Settings)
	*p.Settings = event.DefaultSettings()
	if err := Remove(t.Context(), set, p, func(table string, rows uint64) error { removed[table] = rows; return nil }); err != nil {
		t.Fatal(err)
	}
	var left uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&left); err != nil || left != 4000-uint64(len(want)) || removed["events"] != uint64(len(want)) {
		t.Errorf("%d are left, %v: %v", left, removed, err)
	}
	// What is left has its place in the rollup, and nothing else.
	var differ uint64
	if err := conn.QueryRow(t.Context(), `
SELECT count() FROM
(SELECT node, count() AS n FROM (SELECT if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node FROM events WHERE tenant_id = $1) GROUP BY node) AS e
FULL JOIN (SELECT node FROM active_nodes WHERE tenant_id = $1 GROUP BY node) AS a USING node WHERE e.n = 0 OR a.node = toUUID('00000000-0000-0000-0000-000000000000')`, tenant).Scan(&differ); err != nil || differ != 0 {
		t.Errorf("%d nodes differ: %v", differ, err)
	}
}

// A page that nobody else opened is not remembered by the rollup either, nor by the partition of a copy that was
// taken out, whatever shard that is on; a page that somebody else opened is.
func TestPagesOfCopies(t *testing.T) {
	servers := open(t)
	set := setOf(t, servers)
	ann, bob := event.NodeID(tenant, event.KindAnonymous, "ann"), event.NodeID(tenant, event.KindAnonymous, "bob")
	for i, row := range []struct {
		node      uuid.UUID
		path      string
		partition int32
	}{{ann, "/ann", 0}, {ann, "/ann", 1}, {ann, "/start", 0}, {bob, "/start", 1}, {bob, "/bob", 1}} {
		if err := set.Of(row.partition).Exec(t.Context(), "INSERT INTO "+set.Local("events")+` (tenant_id, event_type, profile_node, timestamp, received_at, host, path, topic, partition, offset, loaded_at)
VALUES ($1, 'page', $2, $3, $3, 'shop.example', $4, $5, $6, $7, $3)`, tenant, row.node, noon, row.path, event.TopicEvents, row.partition, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{ // the second view of /ann was the first one's copy
		"INSERT INTO " + set.Local("removed_copies") + " SELECT tenant_id, toDate(timestamp), topic, partition, offset FROM " + set.Local("events") + " WHERE offset = 1",
		"DELETE FROM " + set.Local("events") + " WHERE offset = 1",
	} {
		if err := set.Of(1).Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	p := &Person{Tenant: tenant, Nodes: []Node{{Node: ann, Erasure: event.Erasure{At: noon}}}}
	removed := map[string]uint64{}
	if err := Remove(t.Context(), set, p, func(table string, rows uint64) error { removed[table] = rows; return nil }); err != nil {
		t.Fatal(err)
	}
	var left []string
	if err := servers.Home().QueryRow(t.Context(), "SELECT arraySort(groupArray(path || toString(partition))) FROM page_days").Scan(&left); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/bob1", "/start1"}; !slices.Equal(left, want) || removed["events"] != 2 {
		t.Errorf("left %q, want %q; removed %v", left, want, removed)
	}
}

// A member that has not said that it knows is waited for, and named.
func TestAwaitNamesTheIgnorant(t *testing.T) {
	conn, brokers := first(t), enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 1})
	client := func(opts ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	admin := kadm.NewClient(client())
	if err := Await(t.Context(), conn, admin, "g", 1); err != nil {
		t.Fatalf("nobody is there: %v", err)
	}
	joined := make(chan struct{})
	member := client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics(event.TopicEvents),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { close(joined) }))
	<-joined
	id, _ := member.GroupMetadata()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := Await(ctx, conn, admin, "g", 2); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("it said nothing: %v", err)
	}
	say := func(rows int) {
		if err := conn.Exec(t.Context(), "INSERT INTO sink_erasures (member, erasures, updated_at) VALUES ($1, $2, now64())", id, rows); err != nil {
			t.Fatal(err)
		}
	}
	say(1)
	if silent, err := ignorant(t.Context(), conn, admin, "g", 2); err != nil || !slices.Equal(silent, []string{id}) {
		t.Errorf("it knows less: %v, %v", silent, err)
	}
	say(2)
	if err := Await(t.Context(), conn, admin, "g", 2); err != nil {
		t.Errorf("it knows: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := Await(ctx, conn, admin, "g", 3); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// An announcement that is made again adds nothing, and can be read back.
func TestAnnounce(t *testing.T) {
	conn := first(t)
	p := &Person{Tenant: tenant, Erasure: uuid.New(), Profiles: []uuid.UUID{uuid.New()},
		Nodes: []Node{{Node: uuid.New(), Erasure: event.Erasure{At: noon}}, {Node: uuid.New(), Erasure: event.Erasure{From: noon.Add(-time.Hour), Until: noon, At: noon}}}}
	for range 2 {
		if rows, err := Announce(t.Context(), conn, p, noon); err != nil || rows != 3 {
			t.Fatal(rows, err)
		}
	}
	all, err := Announced(t.Context(), conn, tenant)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	got := all[0]
	slices.SortFunc(got.Nodes, func(a, b Node) int { return a.From.Compare(b.From) })
	got.At, got.Settings = time.Time{}, nil
	if fmt.Sprint(*got) != fmt.Sprint(*p) {
		t.Errorf("%v, want %v", *got, *p)
	}
}
