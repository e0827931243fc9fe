package sink

import (
	"fmt"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// A shard that is away holds up its own partitions, and what goes to all shards; events of the others go on.
// When it is back everything is there, once.
func TestShardAway(t *testing.T) {
	if enginetest.ClickHouseCluster() == "" {
		t.Skip("a part of make test-shards, which runs the other tests on shards as well")
	}
	name, servers := enginetest.Cluster(t, 2, nil)
	for _, server := range servers {
		schematest.MigrateTo(t, schema.Engines{Cluster: name}, server.NativeDSN())
	}
	r := rigOn(t, servers[0].NativeDSN())
	s := r.start()
	send := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			r.produce(record(event.TopicEvents, int32(i%2), page(fmt.Sprint("m", i), fmt.Sprint("d", i%2))), change(changeOf(i), "0", i+1, 0))
		}
	}
	send(0, 10)
	r.reach(event.TopicEvents, 0, 5)
	r.reach(event.TopicEvents, 1, 5)
	r.reach(event.TopicChanges, 0, 10)
	r.want("5", "SELECT count() FROM events_local") // of the first shard: one partition

	if err := servers[1].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(10, 40)
	r.eventually("the first shard's events", func() bool { return r.ask("SELECT count() FROM events_local") == "20" })
	r.eventually("the news of it", func() bool { return s.Ready(t.Context()) != nil })
	var n uint64
	if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&n); err == nil {
		t.Errorf("%d events were a part of the answer and taken for all of it", n)
	}

	if err := servers[1].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reach(event.TopicEvents, 1, 20)
	r.reach(event.TopicChanges, 0, 40)
	r.want("40|40", "SELECT count(), uniqExact(message_id) FROM events")
	r.want("80|40", "SELECT count(), uniqExact(profile_id) FROM attribute_changes")
	r.want("40|80|80|40", `SELECT (SELECT count() FROM profiles FINAL), (SELECT count() FROM identity_map FINAL), (SELECT count() FROM orders FINAL), (SELECT count() FROM products FINAL)`)
	r.want("20|0", "SELECT countIf(partition = 0), countIf(partition != 0) FROM events_local")
	var there, everywhere uint64
	if err := r.conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM identity_map FINAL), (SELECT count() FROM clusterAllReplicas('"+name+"', currentDatabase(), identity_map) FINAL)").Scan(&there, &everywhere); err != nil || everywhere != 2*there {
		t.Errorf("the map has %d rows here and %d on both: %v", there, everywhere, err)
	}
}
