package resolved_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/model"
)

// After any log, events_resolved gives each event to whom the reference model says its node belonged
// when it was received, as of now: through collapses, chains of merges and relinked devices, while the
// log goes on. After merges are taken back it agrees with the state that the processor keeps.
func TestResolvedAgreesWithTheModel(t *testing.T) {
	db := database(t)
	met := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, db)
		log := applytest.Logs(30).Draw(t, "log")
		pause := rapid.IntRange(0, len(log)-1).Draw(t, "pause")
		for i, entry := range log {
			w.happen(entry)
			if i == pause || i == len(log)-1 {
				w.flush()
				w.check("after the log", w.ofModel)
			}
		}
		for _, m := range w.engine.Merges {
			met[m.Kind]++
			if rapid.Bool().Draw(t, "take back") && w.takeBack(m.MergeID) {
				met["unmerge"]++
			}
		}
		w.flush()
		w.check("after unmerges", w.ofEngine)
		for _, i := range w.model.Identifiers {
			met["relink"] += len(i.Spans) - 1
		}
		met["refused"] += len(w.model.Conflicts)
	})
	for _, kind := range []string{"collapse", "merge", "unmerge", "relink", "refused"} {
		if met[kind] == 0 {
			t.Errorf("no %s was met: %v", kind, met)
		}
	}
}

func database(t *testing.T) *sql.DB {
	t.Helper()
	dsn := enginetest.ClickHouse(t).NativeDSN
	schematest.Migrate(t, dsn)
	opt, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := clickhouse.OpenDB(opt)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// world is one log in the processor's rules, in the model, and in ClickHouse.
type world struct {
	*rapid.T
	db     *sql.DB
	engine *applytest.Store
	model  *model.Model

	events []apply.Event // distinct messages, all so far
	seen   map[string]bool
	rows   int          // of events in the table
	spans  []identified // not in the table yet
}

type identified struct {
	tenant uuid.UUID
	event.IdentifierState
}

func newWorld(t *rapid.T, db *sql.DB) *world {
	settings := map[uuid.UUID]event.Settings{}
	for tenant, s := range applytest.Settings() {
		settings[tenant] = *s
	}
	w := &world{T: t, db: db, engine: applytest.NewStore(applytest.Settings()), model: model.New(settings), seen: map[string]bool{}}
	w.exec("TRUNCATE TABLE events")
	w.exec("TRUNCATE TABLE identity_map")
	return w
}

func (w *world) exec(statement string) {
	if _, err := w.db.Exec(statement); err != nil {
		w.Fatalf("%s: %v", statement, err)
	}
}

func (w *world) happen(entry applytest.Entry) {
	result, err := w.engine.Apply(entry.Lane, []apply.Event{entry.Event}, applytest.ProcessedAt)
	if err != nil {
		w.Fatal(err)
	}
	w.model.Apply(applytest.ModelEvent(entry.Lane, &entry.Event))
	if key := entry.Event.Tenant.String() + entry.Event.MessageID; !w.seen[key] {
		w.seen[key] = true
		w.events = append(w.events, entry.Event)
	}
	if result != nil {
		w.tell(result)
	}
}

func (w *world) tell(r *apply.Result) {
	for _, c := range r.Changes() {
		for _, i := range c.Identifiers {
			w.spans = append(w.spans, identified{c.TenantID, i})
		}
	}
}

func (w *world) takeBack(merge uuid.UUID) bool {
	r, err := w.engine.Unmerge(merge, applytest.ProcessedAt)
	if err != nil {
		return false // the rules say why it cannot be
	}
	w.tell(&r.Result)
	return true
}

// flush brings what happened into the tables. Rows of the map come from several partitions of the log,
// so in any order, and in several parts.
func (w *world) flush() {
	var rows []string
	for _, e := range w.events[w.rows:] {
		routing, identity := nodes(&e)
		rows = append(rows, fmt.Sprintf("('%s', '%s', '%s', '%s', '%s')", e.Tenant, e.MessageID, routing, identity, stamp(e.ReceivedAt)))
	}
	w.rows = len(w.events)
	if len(rows) > 0 {
		w.exec("INSERT INTO events (tenant_id, message_id, profile_node, identity_node, received_at) VALUES " + strings.Join(rows, ", "))
	}
	if len(w.spans) == 0 {
		return
	}
	mixed := rapid.Permutation(w.spans).Draw(w.T, "order")
	w.spans = nil
	for _, some := range [][]identified{mixed[:len(mixed)/2], mixed[len(mixed)/2:]} {
		rows = rows[:0]
		for _, s := range some {
			rows = append(rows, fmt.Sprintf("('%s', '%s', '%s', '%s', %d)", s.tenant, s.Node, stamp(s.ValidFrom), s.ProfileID, s.Version))
		}
		if len(rows) > 0 {
			w.exec("INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version) VALUES " + strings.Join(rows, ", "))
		}
	}
}

// nodes are what the edge and the sink note down of whom an event names.
func nodes(e *apply.Event) (routing, identity uuid.UUID) {
	if n := len(e.IDs.Verified); n > 0 {
		identity = e.IDs.Verified[0].Node
	}
	routing = identity
	if n := len(e.IDs.Anonymous); n > 0 {
		routing = e.IDs.Anonymous[n-1].Node
	}
	return routing, identity
}

// node is the one that says whose the event is.
func node(e *apply.Event) uuid.UUID {
	routing, identity := nodes(e)
	if identity != uuid.Nil {
		return identity
	}
	return routing
}

// stamp is a time as the tables have it: the zero time is 1970.
func stamp(t time.Time) string {
	if t.Unix() < 0 {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000")
}

// ofModel is whom the model gives an event. A node without an owner (its link was refused) is itself.
func (w *world) ofModel(e *apply.Event) uuid.UUID {
	owner := node(e)
	if i := w.model.Identifiers[owner]; i != nil {
		for _, span := range i.Spans {
			if !span.From.After(e.ReceivedAt) {
				owner = span.Profile
			}
		}
	}
	return owner
}

// ofEngine is whom the processor's state gives an event.
func (w *world) ofEngine(e *apply.Event) uuid.UUID {
	n := node(e)
	owner, since, ok := n, time.Time{}, false
	better := func(from time.Time, profile uuid.UUID) {
		if !from.After(e.ReceivedAt) && (!ok || !from.Before(since)) {
			owner, since, ok = profile, from, true
		}
	}
	if i, there := w.engine.Identifiers[n]; there {
		better(i.ValidFrom, i.ProfileID)
	}
	for key, span := range w.engine.Spans {
		if key.Node == n {
			better(span.ValidFrom, span.ProfileID)
		}
	}
	return owner
}

func (w *world) check(when string, owner func(*apply.Event) uuid.UUID) {
	rows, err := w.db.Query("SELECT toString(tenant_id), message_id, toString(profile_id) FROM events_resolved")
	if err != nil {
		w.Fatal(err)
	}
	defer rows.Close()
	got := map[string]string{}
	for rows.Next() {
		var tenant, message, profile string
		if err := rows.Scan(&tenant, &message, &profile); err != nil {
			w.Fatal(err)
		}
		got[tenant+message] = profile
	}
	if err := rows.Err(); err != nil {
		w.Fatal(err)
	}
	if len(got) != len(w.events) {
		w.Fatalf("%s: %d rows of %d messages", when, len(got), len(w.events))
	}
	for i := range w.events {
		e := &w.events[i]
		if have, want := got[e.Tenant.String()+e.MessageID], owner(e).String(); have != want {
			w.Errorf("%s: message %s is of %s, want %s", when, e.MessageID, have, want)
		}
	}
	w.checkPerson(when, &w.events[len(w.events)/2], owner)
	w.checkTime(when, w.events[0].Tenant)
}

// checkTime holds the view of a time to that of all times.
func (w *world) checkTime(when string, tenant uuid.UUID) {
	all := fmt.Sprintf("SELECT message_id, profile_id FROM events_resolved WHERE tenant_id = '%s'", tenant)
	in := fmt.Sprintf("SELECT message_id, profile_id FROM events_in(tenant = '%s', since = '1970-01-01 00:00:00', until = '2100-01-01 00:00:00')", tenant)
	var missing, more uint64
	if err := w.db.QueryRow(fmt.Sprintf("SELECT (SELECT count() FROM (%s EXCEPT %s)), (SELECT count() FROM (%s EXCEPT %s))", all, in, in, all)).Scan(&missing, &more); err != nil {
		w.Fatal(err)
	}
	if missing+more > 0 {
		w.Errorf("%s: events_in lacks %d rows and has %d others", when, missing, more)
	}
}

// checkPerson holds the view of one person to the model: whose that event is.
func (w *world) checkPerson(when string, of *apply.Event, owner func(*apply.Event) uuid.UUID) {
	person := owner(of)
	var want []string
	for i := range w.events {
		if e := &w.events[i]; e.Tenant == of.Tenant && owner(e) == person {
			want = append(want, e.MessageID)
		}
	}
	slices.Sort(want)
	var got []string
	if err := w.db.QueryRow(fmt.Sprintf("SELECT arraySort(groupArray(message_id)) FROM person_events(tenant = '%s', profile = '%s')", of.Tenant, person)).Scan(&got); err != nil {
		w.Fatal(err)
	}
	if !slices.Equal(got, want) {
		w.Errorf("%s: %s did %q, want %q", when, person, got, want)
	}
}
