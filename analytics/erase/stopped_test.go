package erase

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

var errInjected = errors.New("injected")

// stopper breaks every change twice: before the server hears of it, and then with the answer lost.
type stopper struct {
	mu   sync.Mutex
	seen map[string]int
}

type stoppedConn struct {
	driver.Conn
	*stopper
	shard int
}

func (c stoppedConn) Exec(ctx context.Context, statement string, args ...any) error {
	c.mu.Lock()
	key := fmt.Sprint(c.shard, " ", statement)
	c.seen[key]++
	times := c.seen[key]
	c.mu.Unlock()
	if times == 1 {
		return errInjected
	}
	if err := c.Conn.Exec(ctx, statement, args...); err != nil || times > 2 {
		return err
	}
	return errInjected
}

// Stopped before and after each change, on each shard, it goes on, and ends as if she had never been there.
// Nobody else misses anything, and neither does another tenant with the same ids.
func TestStoppedAnywhere(t *testing.T) {
	dsn := migrated(t)
	w := world{t: t, set: setOf(t, serve(t, dsn)), with: true}
	w.fill()
	w.content()
	before, err := Count(t.Context(), w.set, ann())
	if err != nil {
		t.Fatal(err)
	}

	s, shards := &stopper{seen: map[string]int{}}, 0
	stopped := serve(t, dsn)
	stopped.Wrap(func(c driver.Conn) driver.Conn { shards++; return stoppedConn{c, s, shards} })
	told, runs := map[string]uint64{}, 0
	for ; ; runs++ {
		err := Remove(t.Context(), setOf(t, stopped), ann(), func(table string, rows uint64) error {
			told[table] = max(told[table], rows)
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, errInjected) || runs > 100 {
			t.Fatal(runs, err)
		}
	}
	w.want(never(t))
	for table, rows := range before {
		once := table == "events" || table == "attribute_changes" || table == "profile_merges" // of others old versions go by themselves
		if told[table] > rows || told[table] == 0 || once && told[table] < rows {
			t.Errorf("%d rows of %s were told of, and there were %d", told[table], table, rows)
		}
	}
	changed := map[string]int{} // on how many shards
	for key := range s.seen {
		_, statement, _ := strings.Cut(key, " ")
		changed[tableOf(statement)]++
	}
	for _, table := range []string{"events", "active_nodes", "page_days", "touches", "profiles", "orders", "identity_map", "attribute_changes", "profile_merges"} {
		if changed[table] < len(w.set.All()) {
			t.Errorf("%s was stopped on %d shards", table, changed[table])
		}
	}
}

// Where there are replicas, one that counts nothing says nothing of another: the change is made all the same.
func TestReplicasAreToldAgain(t *testing.T) {
	set := setOf(t, open(t))
	for _, want := range []uint64{0, 1} {
		r := &remover{Person: ann(), set: set, tell: func(string, uint64) error { return nil }, replicated: want == 1}
		if err := r.remove(t.Context(), "profiles", r.profiles("profile_id")); err != nil {
			t.Fatal(err)
		}
		for _, conn := range set.All() {
			var told uint64
			if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND table = $1", set.Local("profiles")).Scan(&told); err != nil || told != want {
				t.Errorf("replicated %v: told %d times, %v", r.replicated, told, err)
			}
		}
	}
}

// A shard that goes away half-way is named; the others do their part meanwhile, and nothing counts as done. Once
// it is back the same goes on.
func TestShardAway(t *testing.T) {
	if enginetest.ClickHouseCluster() == "" {
		t.Skip("a part of make test-shards, which runs the other tests on shards as well")
	}
	name, cluster := enginetest.Cluster(t, 2, nil)
	for _, server := range cluster {
		schematest.MigrateTo(t, schema.Engines{Cluster: name}, server.NativeDSN())
	}
	w := world{t: t, set: setOf(t, serve(t, cluster[0].NativeDSN())), with: true}
	w.fill()
	var reached []string
	err := Remove(t.Context(), w.set, ann(), func(table string, _ uint64) error {
		reached = append(reached, table)
		if table == "events" {
			return cluster[1].Stop(t.Context())
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "shard 2 of 2 ("+w.set.Hosts[1]+")") || strings.Contains(err.Error(), "shard 1 of 2") {
		t.Errorf("the second shard is away: %v", err)
	}
	if got := strings.Join(reached, " "); got != "page_days events" {
		t.Errorf("went on to %s", got)
	}
	if _, err := Count(t.Context(), w.set, ann()); err == nil || !strings.Contains(err.Error(), "shard 2 of 2") {
		t.Errorf("nothing is left, as far as one shard knows: %v", err)
	}
	if err := cluster[1].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.set = setOf(t, serve(t, cluster[0].NativeDSN()))
	left, err := count(t.Context(), w.set, "events", ann().events())
	if err != nil || left[0] != 0 || left[1] == 0 {
		t.Errorf("her events on the shards: %d, %v", left, err)
	}
	if err := Remove(t.Context(), w.set, ann(), func(string, uint64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	w.want(never(t))
}
