package schema

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var (
	tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	other  = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
	epoch  = time.Unix(0, 0).UTC()
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

func id(name string) uuid.UUID { return uuid.NewSHA1(tenant, []byte(name)) }

func microseconds(t time.Time) string { return t.Format("2006-01-02 15:04:05.000000") }

// happen inserts an event that was received at noon plus so many minutes.
func happen(t *testing.T, db *sql.DB, tenant uuid.UUID, message, device, person string, minute int) {
	t.Helper()
	identity := uuid.Nil
	if person != "" {
		identity = id(person)
	}
	routing := identity
	if device != "" {
		routing = id(device)
	}
	at := microseconds(noon.Add(time.Duration(minute) * time.Minute))
	exec(t, db, `INSERT INTO events (tenant_id, message_id, profile_node, identity_node, timestamp, received_at) VALUES (?, ?, ?, ?, ?, ?)`,
		tenant, message, routing, identity, at[:23], at)
}

// span says that a node is a profile's from a time on: epoch is since ever.
func span(t *testing.T, db *sql.DB, node, profile string, from time.Time, version int) {
	t.Helper()
	exec(t, db, `INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version) VALUES (?, ?, ?, ?, ?)`,
		tenant, id(node), microseconds(from), id(profile), version)
}

// owners is who each message belongs to.
func owners(t *testing.T, db *sql.DB, names ...string) string {
	t.Helper()
	text := ask(t, db, `SELECT message_id || ':' || toString(profile_id) FROM events_resolved WHERE tenant_id = ? ORDER BY message_id`, tenant)
	byPerson(t, db)
	byTime(t, db)
	for _, name := range names {
		text = strings.ReplaceAll(text, id(name).String(), name)
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// byPerson holds person_events to events_resolved, for everybody in it.
func byPerson(t *testing.T, db *sql.DB) {
	t.Helper()
	const columns = `SELECT toString(tuple(* EXCEPT (payload_json, context_json))), toString(payload_json) FROM `
	for _, profile := range strings.Split(ask(t, db, `SELECT DISTINCT toString(profile_id) FROM events_resolved WHERE tenant_id = ?`, tenant), "\n") {
		want := ask(t, db, columns+`events_resolved WHERE tenant_id = ? AND profile_id = ? ORDER BY message_id`, tenant, profile)
		got := ask(t, db, columns+fmt.Sprintf(`person_events(tenant = '%s', profile = '%s') ORDER BY message_id`, tenant, profile))
		if got != want {
			t.Errorf("person_events of %s:\n%s\nevents_resolved:\n%s", profile, got, want)
		}
	}
}

// byTime holds events_in to events_resolved, for all of the time and for a part of it.
func byTime(t *testing.T, db *sql.DB) {
	t.Helper()
	const columns = `SELECT toString(tuple(* EXCEPT (payload_json, context_json))), toString(payload_json) FROM `
	for _, until := range []time.Time{noon.Add(3 * time.Minute), noon.Add(24 * time.Hour)} {
		since, until := noon.Format(time.DateTime), until.Format(time.DateTime)
		want := ask(t, db, columns+`events_resolved WHERE tenant_id = ? AND timestamp >= ? AND timestamp < ? ORDER BY message_id`, tenant, since, until)
		got := ask(t, db, columns+fmt.Sprintf(`events_in(tenant = '%s', since = '%s', until = '%s') ORDER BY message_id`, tenant, since, until))
		if got != want {
			t.Errorf("events_in until %s:\n%s\nevents_resolved:\n%s", until, got, want)
		}
	}
}

// A question about an hour takes up the map of those who were there in it.
func TestEventsInJoinsLittle(t *testing.T) {
	m, db := open(t)
	up(t, m)
	for n := range 3 {
		happen(t, db, tenant, fmt.Sprint(n), fmt.Sprint("dev", n), "", n)
		span(t, db, fmt.Sprint("dev", n), "ann", epoch, 1)
	}
	exec(t, db, `INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version)
		SELECT ?, generateUUIDv4(1), 0, generateUUIDv4(2), 1 FROM numbers(20000)`, tenant)
	const limit = ` SETTINGS max_rows_in_join = 1000, join_overflow_mode = 'throw'`
	hour := fmt.Sprintf(`SELECT toString(uniqExact(profile_id)) FROM events_in(tenant = '%s', since = '%s', until = '%s')`,
		tenant, noon.Format(time.DateTime), noon.Add(time.Hour).Format(time.DateTime))
	if got := ask(t, db, hour+limit); got != "1" {
		t.Errorf("people in the hour: %s, want 1", got)
	}
	var people uint64
	if err := db.QueryRowContext(t.Context(), `SELECT uniqExact(profile_id) FROM events_resolved`+limit).Scan(&people); err == nil {
		t.Error("events_resolved joined less than the whole map: the limit says nothing")
	}
}

func TestEventsResolved(t *testing.T) {
	m, db := open(t)
	up(t, m)
	check := func(when, want string) {
		t.Helper()
		if got := owners(t, db, "dev", "pad", "ann", "bob", "eve", "crm"); got != want {
			t.Errorf("%s: %s\nwant %s", when, got, want)
		}
	}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

	happen(t, db, tenant, "1", "dev", "", 1)
	happen(t, db, other, "1", "dev", "", 1)
	check("a new visitor, the map is not there yet", "1:dev")

	span(t, db, "dev", "dev", epoch, 1)
	check("a shadow", "1:dev")

	happen(t, db, tenant, "2", "dev", "ann", 2)
	span(t, db, "ann", "ann", epoch, 2)
	span(t, db, "dev", "ann", epoch, 2)
	check("collapsed into ann", "1:ann 2:ann")

	happen(t, db, tenant, "3", "dev", "bob", 3)
	span(t, db, "bob", "bob", epoch, 1)
	span(t, db, "dev", "bob", minute(3), 3)
	happen(t, db, tenant, "4", "dev", "", 4)
	check("bob logs in on ann's device", "1:ann 2:ann 3:bob 4:bob")

	happen(t, db, tenant, "5", "dev", "ann", 5)
	span(t, db, "dev", "ann", minute(5), 4)
	happen(t, db, tenant, "6", "dev", "", 6)
	check("ann logs in again: three spans", "1:ann 2:ann 3:bob 4:bob 5:ann 6:ann")

	// ann turns out to be eve, and eve to be the customer of the CRM: a chain, compressed.
	span(t, db, "ann", "eve", epoch, 5)
	span(t, db, "dev", "eve", epoch, 5)
	span(t, db, "dev", "eve", minute(5), 5)
	check("ann merged into eve", "1:eve 2:eve 3:bob 4:bob 5:eve 6:eve")
	for _, node := range []string{"eve", "ann", "crm"} {
		span(t, db, node, "crm", epoch, 6)
	}
	span(t, db, "dev", "crm", epoch, 6)
	span(t, db, "dev", "crm", minute(5), 6)
	check("eve merged into crm", "1:crm 2:crm 3:bob 4:bob 5:crm 6:crm")

	// The merges are undone: newer versions of the same spans.
	span(t, db, "ann", "ann", epoch, 7)
	span(t, db, "dev", "ann", epoch, 7)
	span(t, db, "dev", "ann", minute(5), 7)
	check("unmerged", "1:ann 2:ann 3:bob 4:bob 5:ann 6:ann")

	// An event that names a person is the person's, whoever has the device (a refused link).
	happen(t, db, tenant, "7", "pad", "ann", 7)
	span(t, db, "pad", "bob", epoch, 1)
	happen(t, db, tenant, "8", "", "bob", 8)
	check("the person goes before the device", "1:ann 2:ann 3:bob 4:bob 5:ann 6:ann 7:ann 8:bob")

	if got := ask(t, db, `SELECT toString(profile_id) FROM events_resolved WHERE tenant_id = ?`, other); got != id("dev").String() {
		t.Errorf("the other tenant's event: %s", got)
	}
	exec(t, db, `OPTIMIZE TABLE identity_map FINAL`)
	check("after merges of parts", "1:ann 2:ann 3:bob 4:bob 5:ann 6:ann 7:ann 8:bob")
}

// Over random spans, versions and events the view says what a look through the list says.
func TestEventsResolvedAgreesWithAModel(t *testing.T) {
	m, db := open(t)
	up(t, m)
	random := rand.New(rand.NewPCG(7, 11))
	const nodes, profiles, minutes, n = 40, 15, 60, 600
	type key struct{ node, minute int } // minute -1 is since ever
	type entry struct{ profile, version int }
	spans := map[key]entry{}
	var rows []string
	for range n {
		k := key{random.IntN(nodes), random.IntN(minutes+20) - 20}
		from := epoch
		if k.minute < 0 {
			k.minute = -1
		} else {
			from = noon.Add(time.Duration(k.minute) * time.Minute)
		}
		e := entry{random.IntN(profiles), spans[k].version + 1}
		profile := fmt.Sprint("p", e.profile)
		if random.IntN(4) == 0 {
			e.profile, profile = -1, fmt.Sprint("n", k.node) // its own
		}
		if e.version > 1 && random.IntN(5) == 0 {
			e.version -= 2 // late, and lost
		} else {
			spans[k] = e
		}
		rows = append(rows, fmt.Sprintf("('%s', '%s', '%s', '%s', %d)", tenant, id(fmt.Sprint("n", k.node)), microseconds(from), id(profile), max(e.version, 0)))
		if len(rows) == 50 { // in several parts
			exec(t, db, `INSERT INTO identity_map (tenant_id, node, valid_from, profile_id, version) VALUES `+strings.Join(rows, ", "))
			rows = nil
		}
	}
	var events, want []string
	for i := range n {
		device, person := random.IntN(nodes), random.IntN(3*nodes) // two of three name nobody
		minute := random.IntN(minutes)
		node, identity := device, uuid.Nil
		if person < nodes {
			node, identity = person, id(fmt.Sprint("n", person))
		}
		at := microseconds(noon.Add(time.Duration(minute) * time.Minute))
		events = append(events, fmt.Sprintf("('%s', '%04d', '%s', '%s', '%s', '%s')", tenant, i, id(fmt.Sprint("n", device)), identity, at[:23], at))

		owner, best := id(fmt.Sprint("n", node)), -2
		for k, e := range spans {
			if k.node == node && k.minute <= minute && k.minute > best {
				best = k.minute
				owner = id(fmt.Sprint("p", e.profile))
				if e.profile < 0 {
					owner = id(fmt.Sprint("n", node))
				}
			}
		}
		want = append(want, fmt.Sprintf("%04d|%s", i, owner))
	}
	exec(t, db, `INSERT INTO events (tenant_id, message_id, profile_node, identity_node, timestamp, received_at) VALUES `+strings.Join(events, ", "))
	got := strings.Split(ask(t, db, `SELECT message_id, toString(profile_id) FROM events_resolved ORDER BY message_id`), "\n")
	wrong := 0
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			wrong++
		}
	}
	if wrong > 0 || len(got) != len(want) {
		t.Errorf("%d rows for %d events, %d of them wrong", len(got), len(want), wrong)
	}
	byPerson(t, db)
	byTime(t, db)
}

// An analyst may prefer columns to names of one's own; one of the map's is called as what person_events answers.
func TestPersonEventsWhateverIsPreferred(t *testing.T) {
	m, db := open(t)
	up(t, m)
	happen(t, db, tenant, "anonymous", "tablet", "", 0)
	happen(t, db, tenant, "before", "phone", "", 1)
	happen(t, db, tenant, "named", "phone", "ann", 2)
	span(t, db, "phone", "ann", epoch, 1)
	for profile, want := range map[string]string{"tablet": "anonymous", "ann": "before\nnamed"} {
		for prefer := range 2 {
			got := ask(t, db, fmt.Sprintf(`SELECT message_id FROM person_events(tenant = '%s', profile = '%s') ORDER BY message_id SETTINGS prefer_column_name_to_alias = %d`,
				tenant, id(profile), prefer))
			if got != want {
				t.Errorf("%s, prefer_column_name_to_alias = %d: %q, want %q", profile, prefer, got, want)
			}
		}
	}
}
