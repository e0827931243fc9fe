package sink

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// changeOf is a change with something for every table. Number n changes profile n.
func changeOf(n int) string {
	profile, loser := node("email", fmt.Sprint(n)), node("anonymous", fmt.Sprint(n))
	state := event.ProfileState{
		Kind: "anchor", Attributes: []byte(`{"city":"Miami","n":9007199254740993}`), FirstSeen: noon, LastSeen: noon.Add(time.Hour),
		EventCount: 4, TrackCount: 1, PageCount: 2, IdentifyCount: 1, AttributesAt: noon, Version: 3, CreatedAt: noon, UpdatedAt: noon,
	}
	dead := event.ProfileState{Kind: "shadow", Attributes: []byte(`{}`), Version: 2, CreatedAt: noon, UpdatedAt: noon, MergedInto: profile}
	c := event.Change{
		TenantID: tenant, ProfileID: profile, Profile: &state,
		Identifiers: []event.IdentifierState{
			{Node: profile, Kind: "email", Value: fmt.Sprint(n), ProfileID: profile, Version: 3},
			{Node: loser, Kind: "anonymous", Value: fmt.Sprint(n), ProfileID: profile, ValidFrom: noon, Version: 3},
		},
		Merges: []event.Merge{{
			MergeID: uuid.NewSHA1(profile, []byte("merge")), WinnerID: profile, LoserID: loser, Cause: "m4", Kind: "collapse", MergedAt: noon,
			Winner: state, Loser: dead, MovedOrders: []string{"O-1", "O-2"},
			MovedIdentifiers: []event.IdentifierState{{Node: loser, Kind: "anonymous", Value: fmt.Sprint(n), ProfileID: loser}},
		}},
		Lineage: []event.AttributeChange{
			{Version: 2, Index: 0, Path: "/city", Op: "add", New: []byte(`"Chicago"`), Cause: "m4", CauseKind: "event", EventTime: noon, ProcessedAt: noon},
			{Version: 3, Index: 1, Path: "/city", Op: "update", Old: []byte(`"Chicago"`), New: []byte(`"\ud800"`), Cause: "m5", CauseKind: "event", EventTime: noon, ProcessedAt: noon},
		},
		Orders: []event.OrderState{{
			OrderID: fmt.Sprint("O-", n), ProfileID: profile, Status: "completed", Total: "19.99", Currency: "EUR", Tax: "1E+2", Coupon: "C",
			Items:      []event.OrderItem{{ProductID: "P-1", Quantity: "2", Price: "9.50", Name: "Shoe"}, {ProductID: "P-2", Quantity: "0.5"}},
			FirstEvent: noon, LastEvent: noon, CompletedAt: noon, Version: 2,
		}, {OrderID: fmt.Sprint("E-", n), ProfileID: profile, Status: "incomplete", Total: "1e99", FirstEvent: noon, LastEvent: noon, Version: 1}},
		Products: []event.ProductState{{ProductID: fmt.Sprint("P-", n), Name: "Shoe", Price: "9.50", Category: "shoes", Skeleton: true, FirstSeen: noon, Version: 1}},
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// tombstone is the change that says that changeOf(n)'s loser is no more.
func tombstone(n int) string {
	c := event.Change{TenantID: tenant, ProfileID: node("anonymous", fmt.Sprint(n)), Profile: &event.ProfileState{
		Kind: "shadow", Attributes: []byte(`{}`), Version: 9, MergedInto: node("email", fmt.Sprint(n)),
	}}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestChangesBecomeRows(t *testing.T) {
	r := newRig(t)
	r.start()
	shadow, err := json.Marshal(event.Change{TenantID: tenant, ProfileID: node("anonymous", "1"), Profile: &event.ProfileState{Kind: "shadow", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	r.produce(change(string(shadow), "0", 1, 0), change(changeOf(1), "0", 2, 0), change(tombstone(1), "0", 2, 1))
	r.reach(event.TopicChanges, 0, 3)
	ann, device := node("email", "1").String(), node("anonymous", "1").String()
	r.want("anchor|4|1|2|1|3|Miami|9007199254740993|"+uuid.Nil.String(),
		`SELECT kind, event_count, track_count, page_count, identify_count, version, attributes_json.city.:String, toString(attributes_json.n), merged_into
		FROM profiles FINAL`)
	r.want("1|"+ann, "SELECT is_deleted, merged_into FROM profiles WHERE profile_id = '"+device+"' AND is_deleted = 1") // FINAL leaves it out
	r.want(device+"|2026-11-23 12:00:00.000000|anonymous|1|"+ann+"|3\n"+ann+"|1970-01-01 00:00:00.000000|email|1|"+ann+"|3",
		"SELECT node, toString(valid_from), kind, value, profile_id, version FROM identity_map FINAL ORDER BY kind")
	r.want("2|0|add||\"Chicago\"|m4|event|1\n3|1|update|\"Chicago\"|\"\\ufffd\"|m5|event|1",
		"SELECT version, change_index, op, old_value, new_value, cause, cause_kind, offset FROM attribute_changes WHERE path = '/city' ORDER BY version")
	r.want(ann+"|"+device+"|collapse|m4|[O-1 O-2]|Miami|"+ann+"|1",
		`SELECT winner_id, loser_id, kind, cause, moved_orders, JSONExtractString(winner_before, 'attributes', 'city'), JSONExtractString(loser_before, 'merged_into'),
		JSONLength(moved_identifiers) FROM profile_merges`)
	r.want("completed|19.99|EUR|100|NULL|C|[P-1 P-2]|[2,0.5]|[9.5,NULL]|[Shoe ]|2026-11-23 12:00:00.000",
		"SELECT status, toString(total), currency, toString(tax), ifNull(toString(shipping), 'NULL'), coupon, items.product_id, toString(items.quantity), toString(items.price), items.name, toString(completed_at) FROM orders FINAL WHERE order_id = 'O-1'")
	r.want("incomplete|NULL|[]|1970-01-01 00:00:00.000", "SELECT status, ifNull(toString(total), 'NULL'), items.product_id, toString(completed_at) FROM orders FINAL WHERE order_id = 'E-1'")
	r.want("P-1|Shoe|9.5|shoes|true", "SELECT product_id, name, toString(price), category, skeleton FROM products FINAL")
	r.want("P-1|2|9.5|19|Shoe\nP-2|0.5|NULL|NULL|",
		"SELECT product_id, toString(quantity), ifNull(toString(price), 'NULL'), ifNull(toString(amount), 'NULL'), name FROM order_items ORDER BY product_id")
}

// A record the processor produced again after a crash is taken once: also when it comes after newer
// ones, from several sources, and to a sink that was started in between.
func TestRepeatedChangesAreSkipped(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(
		change(changeOf(1), "0", 10, 0), change(changeOf(2), "0", 10, 1), change(changeOf(3), "1", 5, 0),
		change(changeOf(1), "0", 10, 0), change(changeOf(2), "0", 10, 1), // again
		change(changeOf(4), "0", 11, 0), change(changeOf(2), "0", 10, 1))
	r.reach(event.TopicChanges, 0, 7)
	r.want("8|4", "SELECT count(), uniqExact(profile_id) FROM attribute_changes")
	if n := testutil.ToFloat64(s.metrics.repeated); n != 3 {
		t.Errorf("%v repetitions, want 3", n)
	}
	r.stop(s)
	r.start()
	r.produce(change(changeOf(4), "0", 11, 0), change(changeOf(3), "1", 5, 0), change(changeOf(5), "1", 6, 0))
	r.reach(event.TopicChanges, 0, 10)
	r.want("10|5", "SELECT count(), uniqExact(profile_id) FROM attribute_changes")
	r.want("5|5", "SELECT count(), uniqExact(merge_id) FROM profile_merges")
	r.want(`{"keystone.events/0":[11,0],"keystone.events/1":[6,0]}`, "SELECT marks FROM sink_positions FINAL WHERE topic = 'keystone.changes'")
}

// A crash before or after any insert, the saving of the position included, leaves every row once.
func TestCrashAtEveryStep(t *testing.T) {
	r := newRig(t)
	next, profiles := int64(0), 0
	for _, when := range []string{"before", "after"} {
		for _, table := range []string{
			tableEvents, tableIdentityMap, tableProfiles, tableOrders, tableProducts, tableProfileMerges, tableAttributeChanges, tablePositions,
		} {
			crashed := make(chan struct{})
			hit := false
			fault := func(name string) error {
				if name == table && !hit {
					hit = true
					close(crashed)
				}
				if hit { // a dead process writes nothing more
					return errInjected
				}
				return nil
			}
			c := &faults{before: fault}
			if when == "after" {
				c.before, c.after = func(string) error {
					if hit {
						return errInjected
					}
					return nil
				}, fault
			}
			s := r.start(r.broken(c))
			var records []*kgo.Record
			for range 3 {
				profiles++
				records = append(records,
					record(event.TopicEvents, 0, page(fmt.Sprint("m", profiles), "d")),
					change(changeOf(profiles), "0", profiles, 0),
					change(changeOf(profiles), "0", profiles, 0)) // and each comes twice
			}
			r.produce(records...)
			next += 3
			<-crashed
			r.kill(s)

			s = r.start()
			r.reach(event.TopicEvents, 0, next)
			r.reach(event.TopicChanges, 0, 2*next)
			r.stop(s)
			n := profiles
			r.want(fmt.Sprint(n, "|", n), "SELECT count(), uniqExact(offset) FROM events")
			r.want(fmt.Sprintf("%d|%d", 2*n, n), "SELECT count(), uniqExact(profile_id) FROM attribute_changes")
			r.want(fmt.Sprintf("%d|%d", n, n), "SELECT count(), uniqExact(merge_id) FROM profile_merges")
			r.want(fmt.Sprintf("%d|%d|%d|%d", n, 2*n, 2*n, n),
				`SELECT (SELECT count() FROM profiles FINAL), (SELECT count() FROM identity_map FINAL), (SELECT count() FROM orders FINAL), (SELECT count() FROM products FINAL)`)
			if t.Failed() {
				t.Fatalf("crash %s %s", when, table)
			}
		}
	}
}

func TestReadSource(t *testing.T) {
	for name, headers := range map[string][]kgo.RecordHeader{
		"none":      nil,
		"no number": change("{}", "0", 1, 0).Headers[:2],
		"not a number": {
			{Key: event.HeaderSourceTopic, Value: []byte("t")}, {Key: event.HeaderSourcePartition, Value: []byte("0")}, {Key: event.HeaderSourceOffset, Value: []byte("x")},
		},
	} {
		if _, err := readSource(headers); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	s, err := readSource(change("{}", "3", 7, 2).Headers)
	if err != nil || s != (source{"keystone.events/3", [2]int64{7, 2}}) {
		t.Errorf("%v %v", s, err)
	}
}

func TestMarks(t *testing.T) {
	m := marks{}
	at := func(offset, sequence int64) source { return source{"t/0", [2]int64{offset, sequence}} }
	if m.has(at(1, 0)) {
		t.Error("has what was never taken")
	}
	m.add(at(5, 2))
	for _, tt := range []struct {
		s    source
		want bool
	}{{at(5, 2), true}, {at(5, 1), true}, {at(4, 9), true}, {at(5, 3), false}, {at(6, 0), false}, {source{"t/1", [2]int64{1, 0}}, false}} {
		if got := m.has(tt.s); got != tt.want {
			t.Errorf("has %v: %v", tt.s, got)
		}
	}
}

// A lane of changes that had a large batch does not keep its memory; one that had an ordinary one does.
func TestChangesMemoryIsGivenUp(t *testing.T) {
	w := benchSink(t, nil).work(tp{event.TopicChanges, 0}, start{shards: 2}).(*changeWork)
	for _, c := range []struct {
		bytes int
		kept  bool
	}{{100, true}, {2 * keptChanges, false}, {100, true}} {
		large, err := json.Marshal(event.Change{TenantID: tenant, ProfileID: node("email", "1"), Profile: &event.ProfileState{
			Kind: "anchor", Version: 1, Attributes: []byte(fmt.Sprintf("%q", strings.Repeat("x", c.bytes))),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.take(t.Context(), []*kgo.Record{change(string(large), "0", c.bytes, 0)}); err != nil {
			t.Fatal(err)
		}
		before := w.tables
		w.abandon()
		if kept := w.tables == before; kept != c.kept || w.rows() != 0 || w.tables.memory() > keptChanges {
			t.Errorf("after %d bytes: kept is %t, %d rows, %d bytes", c.bytes, kept, w.rows(), w.tables.memory())
		}
		w.taken = marks{}
	}
}
