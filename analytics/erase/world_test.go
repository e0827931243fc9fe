package erase

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// A shop in which Ann was, and one in which she never was: what is left of the first must be the second. Ann
// has something in every table and, where there are two shards, on both.

var (
	neighbour = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8") // another tenant, whose rows have the same ids
	phone     = event.NodeID(tenant, event.KindAnonymous, "phone")
	tablet    = event.NodeID(tenant, event.KindAnonymous, "tablet")
	pad       = event.NodeID(tenant, event.KindAnonymous, "pad") // Bob's from noon on
	email     = event.NodeID(tenant, event.KindEmail, "ann@example.com")
	bobs      = event.NodeID(tenant, event.KindAnonymous, "bobs")
	carl      = event.NodeID(tenant, "crm_id", "carl")
	// Of profiles the last byte says which shard they are on.
	ann1 = uuid.MustParse("00000000-0000-5000-8000-0000000000a0")
	ann2 = uuid.MustParse("00000000-0000-5000-8000-0000000000a1")
	bob  = uuid.MustParse("00000000-0000-5000-8000-0000000000b0")
	bob2 = uuid.MustParse("00000000-0000-5000-8000-0000000000b1")
)

func ann() *Person {
	settings := event.DefaultSettings()
	settings.Kinds = []string{"crm_id"}
	evening := noon.Add(6 * time.Hour)
	p := &Person{Tenant: tenant, Erasure: uuid.New(), Profiles: []uuid.UUID{ann1, ann2}, Settings: &settings}
	for _, n := range []uuid.UUID{phone, tablet, email} {
		p.Nodes = append(p.Nodes, Node{Node: n, Erasure: event.Erasure{At: evening}})
	}
	p.Nodes = append(p.Nodes, Node{Node: pad, Erasure: event.Erasure{Until: noon, At: evening}})
	return p
}

// world writes rows where a sink would.
type world struct {
	t    *testing.T
	set  *shard.Set
	with bool // Ann
}

func (w world) exec(conn driver.Conn, statement string, args ...any) {
	w.t.Helper()
	if err := conn.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%v: %s", err, statement)
	}
}

func (w world) everywhere(statement string, args ...any) {
	w.t.Helper()
	for _, conn := range w.set.All() {
		w.exec(conn, statement, args...)
	}
}

func (w world) fill() {
	w.t.Helper()
	w.events()
	for _, of := range []uuid.UUID{tenant, neighbour} {
		w.states(of)
		w.lineage(of)
	}
}

func (w world) events() {
	w.t.Helper()
	for i, e := range []struct {
		anns             bool
		device, identity uuid.UUID
		kind, path       string
		statement        string // identity as given
		partition        int32
		after            time.Duration // noon
	}{
		{true, phone, uuid.Nil, "page", "/ann", "", 0, 0},
		{true, phone, email, "page", "/start", "", 0, time.Minute},
		{true, tablet, uuid.Nil, "page", "/ann", "", 1, 0},
		{true, tablet, email, "track", "", "", 1, time.Hour},
		{true, email, email, "identify", "", "ann@example.com", 3, time.Hour},
		{true, pad, uuid.Nil, "page", "/pad", "", 1, -time.Hour},
		{false, pad, uuid.Nil, "page", "/start", "", 1, time.Hour},
		{false, bobs, uuid.Nil, "page", "/start", "", 0, time.Minute},
		{false, bobs, uuid.Nil, "page", "/bob", "", 0, time.Minute},
		{true, carl, carl, "identify", "", `{"crm_id":"carl","email":"ann@example.com"}`, 0, time.Minute},
		{true, carl, carl, "identify", "", `{"crm_id":"carl","email":"ann@example.com"}`, 1, time.Minute},
		{false, carl, carl, "identify", "", `{"crm_id":"carl","email":"carl@example.com"}`, 0, time.Minute},
		{false, carl, carl, "identify", "", `{"crm_id":"carl","email":"carl@example.com"}`, 1, time.Minute},
		{true, phone, uuid.Nil, "page", "/copy", "", 0, 0},
		{true, phone, uuid.Nil, "page", "/copy", "", 1, 0}, // the message of the line before once more
	} {
		for n, of := range []uuid.UUID{tenant, neighbour} {
			if e.anns && !w.with && of == tenant {
				continue
			}
			w.exec(w.set.Of(e.partition), "INSERT INTO "+w.set.Local("events")+` (tenant_id, message_id, event_type, profile_node, identity_node, identity,
				timestamp, received_at, host, path, utm_source, payload, context, extra, topic, partition, offset, loaded_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 'shop.example', $8, 'mail', '{}', '{}', '{}', $9, $10, $11, $12)`,
				of, fmt.Sprint("m", i), e.kind, e.device, e.identity, e.statement, noon.Add(e.after), e.path, event.TopicEvents, e.partition, 2*i+n, noon.Add(time.Hour))
		}
	}
	if w.with { // as the sink does
		events := w.set.Local("events")
		const copied = " WHERE path = '/copy' AND partition = 1"
		w.exec(w.set.Of(1), "INSERT INTO "+w.set.Local("removed_copies")+" SELECT tenant_id, toDate(timestamp), topic, partition, offset FROM "+events+copied+" AND tenant_id = $1", tenant)
		w.exec(w.set.Of(1), "DELETE FROM "+events+copied+" AND tenant_id = $1", tenant)
	}
}

func (w world) states(of uuid.UUID) {
	w.t.Helper()
	there := func(profile uuid.UUID) bool { return w.with || of != tenant || profile == bob || profile == bob2 }
	shards := len(w.set.All())
	for version, profile := range []uuid.UUID{ann1, ann1, ann2, ann2, bob, bob2} {
		if there(profile) {
			w.exec(w.set.All()[shard.OfProfile(profile, shards)], "INSERT INTO "+w.set.Local("profiles")+" (tenant_id, profile_id, attributes, version) VALUES ($1, $2, '{}', $3)", of, profile, version)
		}
	}
	for i := range 6 {
		for version, profile := range []uuid.UUID{[]uuid.UUID{ann1, bob}[i%2], []uuid.UUID{ann2, bob}[i/2%2]} { // from anybody, to anybody
			if name := fmt.Sprint("O-", i); there(profile) && (i/2%2 == 1 || there(ann2)) { // Ann's in the end: never there without her
				w.exec(w.set.All()[shard.OfOrder(of, name, shards)], "INSERT INTO "+w.set.Local("orders")+" (tenant_id, order_id, profile_id, version) VALUES ($1, $2, $3, $4)", of, name, profile, version)
			}
		}
	}
	for version, span := range []struct {
		node, profile uuid.UUID
		from          time.Time
	}{{phone, ann1, time.Unix(0, 0)}, {tablet, ann2, time.Unix(0, 0)}, {tablet, ann1, noon}, {email, ann1, noon}, {pad, ann1, time.Unix(0, 0)}, {pad, bob, noon}, {bobs, bob, time.Unix(0, 0)}} {
		if there(span.profile) {
			w.everywhere("INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version) VALUES ($1, $2, $3, $4, $5)", of, span.node, span.from, span.profile, version)
		}
	}
	w.everywhere("INSERT INTO products (tenant_id, product_id) VALUES ($1, 'P')", of)
}

func (w world) lineage(of uuid.UUID) {
	w.t.Helper()
	id := 0
	for partition := range int32(2) {
		conn := w.set.Of(partition)
		for _, pair := range [][2]uuid.UUID{{ann1, ann2}, {bob, ann2}, {ann1, bob}, {bob, bob2}} {
			id++
			if !w.with && of == tenant && pair != [2]uuid.UUID{bob, bob2} {
				continue
			}
			w.exec(conn, "INSERT INTO "+w.set.Local("profile_merges")+" (tenant_id, merge_id, winner_id, loser_id, topic, partition) VALUES ($1, $2, $3, $4, $5, $6)",
				of, uuid.NewSHA1(of, []byte(fmt.Sprint(id))), pair[0], pair[1], event.TopicChanges, partition)
		}
		for _, profile := range []uuid.UUID{ann1, ann2, bob} {
			if w.with || of != tenant || profile == bob {
				w.exec(conn, "INSERT INTO "+w.set.Local("attribute_changes")+" (tenant_id, profile_id, path, topic, partition) VALUES ($1, $2, '/city', $3, $4)", of, profile, event.TopicChanges, partition)
			}
		}
	}
}

// shown are the columns of tables that cannot be shown as they are. A place in the log that a page had stays.
var shown = map[string]string{
	"page_days":      "tenant_id, day, host, path, topic, partition",
	"removed_copies": "",
	"sink_positions": "",
}

// content is all there is, on all shards, after what is merged in the background.
func (w world) content() (all []string) {
	w.t.Helper()
	for _, table := range []string{"events", "active_nodes", "page_days", "touches", "profiles", "orders", "identity_map", "products", "attribute_changes", "profile_merges"} {
		columns, final := "*", ""
		if own, ok := shown[table]; ok {
			columns = own
		}
		if table != "events" && table != "attribute_changes" && table != "profile_merges" {
			final = " FINAL"
		}
		var rows []string
		for _, conn := range w.set.All() {
			var some []string
			if err := conn.QueryRow(w.t.Context(), "SELECT groupArray(toString(tuple("+columns+"))) FROM "+w.set.Local(table)+final).Scan(&some); err != nil {
				w.t.Fatal(table, err)
			}
			if w.with && table != "products" && len(some) == 0 {
				w.t.Errorf("a shard has no row of %s: the test shows less", table)
			}
			for _, row := range some {
				rows = append(rows, table+" "+row)
			}
		}
		slices.Sort(rows)
		all = append(all, rows...)
	}
	return all
}

// never is what is there where Ann never was.
func never(t *testing.T) []string {
	t.Helper()
	w := world{t: t, set: setOf(t, open(t))}
	w.fill()
	return w.content()
}

func (w world) want(want []string) {
	w.t.Helper()
	times := map[string]int{}
	for _, row := range w.content() {
		times[row]++
	}
	for _, row := range want {
		times[row]--
	}
	for row, n := range times {
		if n != 0 {
			w.t.Errorf("%d times too often: %s", n, row)
		}
	}
	for _, conn := range w.set.All() {
		var marked uint64
		if err := conn.QueryRow(w.t.Context(), "SELECT count() FROM system.parts WHERE database = currentDatabase() AND active AND has_lightweight_delete").Scan(&marked); err != nil || marked > 0 {
			w.t.Errorf("%d parts have rows that are only marked: %v", marked, err)
		}
	}
	left, err := Count(w.t.Context(), w.set, ann())
	if err != nil {
		w.t.Fatal(err)
	}
	for table, rows := range left {
		if rows > 0 {
			w.t.Errorf("%d rows of %s are hers", rows, table)
		}
	}
}

// tableOf is the table that a statement changes, by its name without a shard's suffix.
func tableOf(statement string) string {
	return strings.TrimSuffix(strings.Fields(statement)[2], schema.LocalSuffix)
}
