package schema

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// inOrder are the tables, and how their rows are put in order. Their questions are for all columns
// there are before a migration.
var inOrder = map[string]string{
	"events":            "events ORDER BY message_id",
	"identity_map":      "identity_map FINAL ORDER BY tenant_id, node, valid_from",
	"profiles":          "profiles FINAL ORDER BY profile_id",
	"orders":            "orders FINAL ORDER BY order_id",
	"products":          "products FINAL ORDER BY product_id",
	"attribute_changes": "attribute_changes ORDER BY profile_id, version",
	"profile_merges":    "profile_merges ORDER BY merge_id",
	"sink_positions":    "sink_positions FINAL ORDER BY topic, partition",
}

// questions are those to views.
var questions = map[string]string{
	"events_resolved": `SELECT message_id, toString(profile_id), toString(revenue), payload FROM events_resolved ORDER BY message_id`,
	"sessions":        `SELECT toString(profile_id), toString(session_number), toString(events), toString(revenue), entry_path FROM sessions ORDER BY profile_id, session_number`,
	"order_items":     `SELECT order_id, product_id, toString(quantity), ifNull(toString(amount), ''), name FROM order_items ORDER BY order_id, product_id`,
}

// Every migration, applied to a database that was filled before it, keeps the rows and the answers; and
// what is written afterwards lands beside them.
func TestUpgradeOfAFilledDatabase(t *testing.T) {
	m, db := open(t)
	p, err := m.provider()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.boot.ExecContext(t.Context(), "CREATE DATABASE IF NOT EXISTS "+m.database); err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, source := range p.ListSources() {
		before := answers(t, db)
		if _, err := p.UpTo(t.Context(), source.Version); err != nil {
			t.Fatal(err)
		}
		tables := ask(t, db, `SELECT name FROM system.tables WHERE database = currentDatabase()`)
		for question, want := range before {
			if got := ask(t, db, question); got != want {
				t.Errorf("after %s: %s:\n%s\nwant\n%s", source.Path, question, got, want)
			}
		}
		fillAll(t, db, tables, filled)
		filled++
	}
	// As many rows of each as it was there for.
	for table, rows := range map[string]int{"events": filled, "identity_map": filled - 1, "orders": filled - 2} {
		if got := ask(t, db, `SELECT toString(count()) FROM `+table); got != fmt.Sprint(3*rows) {
			t.Errorf("%s has %s rows, want %d", table, got, 3*rows)
		}
	}
	if got := ask(t, db, `SELECT toString(uniqExact(profile_id)) FROM events_resolved`); got != fmt.Sprint(2*filled) {
		t.Errorf("%s people of %d fillings", got, filled)
	}
}

// answers are those that the schema gives now, by question.
func answers(t *testing.T, db *sql.DB) map[string]string {
	t.Helper()
	tables := ask(t, db, `SELECT name FROM system.tables WHERE database = currentDatabase()`)
	given := map[string]string{}
	for name, rows := range inOrder {
		if has(tables, name) {
			columns := ask(t, db, "SELECT arrayStringConcat(groupArray(concat('`', name, '`')), ', ') FROM system.columns WHERE database = currentDatabase() AND table = ? AND default_kind = ''", name)
			question := "SELECT toString(tuple(" + columns + ")) FROM " + rows
			given[question] = ask(t, db, question)
		}
	}
	for name, question := range questions {
		if has(tables, name) {
			given[question] = ask(t, db, question)
		}
	}
	return given
}

func has(list, name string) bool {
	for line := range strings.Lines(list) {
		if strings.TrimSpace(line) == name {
			return true
		}
	}
	return false
}

// fillAll puts three rows into every table there is: two events of a device that a person logged in on,
// and one of somebody else.
func fillAll(t *testing.T, db *sql.DB, tables string, n int) {
	t.Helper()
	device, person, stranger := id(fmt.Sprint("device", n)), id(fmt.Sprint("person", n)), id(fmt.Sprint("stranger", n))
	for i, node := range []any{device, device, stranger} {
		at := microseconds(noon)
		message := fmt.Sprintf("%02d-%d", n, i)
		put := func(table, columns string, values ...any) {
			t.Helper()
			if has(tables, table) {
				marks := strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")
				exec(t, db, "INSERT INTO "+table+" ("+columns+") VALUES ("+marks+")", values...)
			}
		}
		put("events", "tenant_id, message_id, profile_node, event_type, event_name, path, payload, revenue, timestamp, received_at",
			tenant, message, node, "track", "Order Completed", "/"+message, `{"n":9007199254740993}`, "100.000000001", at[:23], at)
		put("identity_map", "tenant_id, node, valid_from, profile_id, version", tenant, map[bool]any{true: device, false: id("spare" + message)}[i == 0], microseconds(epoch), person, 2)
		put("profiles", "tenant_id, profile_id, attributes, event_count, version", tenant, id("profile"+message), `{"city":"Chicago"}`, 2, 1)
		put("attribute_changes", "tenant_id, profile_id, version, path", tenant, id("profile"+message), 1, "/city")
		put("profile_merges", "tenant_id, merge_id, winner_id", tenant, id("merge"+message), person)
		put("orders", "tenant_id, order_id, profile_id, status, items.product_id, items.quantity, items.price, items.name, items.category, version",
			tenant, "O-"+message, person, "completed", []string{"P-" + message}, []string{"2"}, []string{"9.99"}, []string{"Shoe"}, []string{""}, 1)
		put("products", "tenant_id, product_id, name, version", tenant, "P-"+message, "Shoe", 1)
		put("sink_positions", "topic, partition, next_offset", "keystone.events", 10*n+i, 7)
	}
}
