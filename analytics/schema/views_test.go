package schema

import (
	"fmt"
	"testing"
	"time"
)

func TestSessions(t *testing.T) {
	m, db := open(t)
	up(t, m)
	event := func(message, device, kind, name, path, extra string, second int) {
		t.Helper()
		at := microseconds(noon.Add(time.Duration(second) * time.Second))
		exec(t, db, `INSERT INTO events (tenant_id, message_id, profile_node, event_type, event_name, path, utm_campaign, order_id, revenue, timestamp, received_at)
			VALUES (?, ?, ?, ?, ?, ?, `+extra+`, ?, ?)`, tenant, message, id(device), kind, name, path, at[:23], at)
	}
	const nothing = "'', '', NULL"
	event("1", "dev", "page", "", "/a", "'fall', '', NULL", 0)
	event("2", "dev", "track", " order__completed", "", "'', 'O-1', 19.99", 1800) // 30 minutes later: still the same
	event("3", "dev", "track", "Checkout Started", "", "'', 'O-2', 99", 1800)     // revenue of no completed order
	event("4", "dev", "page", "", "/b", "'late', '', NULL", 3601)                 // a second more
	event("5", "dev", "page", "", "/c", nothing, 3611)
	event("6", "dev2", "page", "", "/d", nothing, 3615) // another visitor
	span(t, db, "dev", "ann", epoch, 2)
	const sessions = `SELECT toString(profile_id = ?), toString(session_number), toString(duration_seconds), toString(events), toString(pages),
		entry_path, exit_path, utm_campaign, toString(orders), toString(revenue) FROM sessions WHERE tenant_id = ? ORDER BY profile_id = ? DESC, session_number`
	want := "1|1|1800|3|1|/a|/a|fall|1|19.99\n1|2|10|2|2|/b|/c|late|0|0\n0|1|0|1|1|/d|/d||0|0"
	if got := ask(t, db, sessions, id("ann"), tenant, id("ann")); got != want {
		t.Errorf("sessions:\n%s\nwant\n%s", got, want)
	}
	span(t, db, "dev2", "ann", epoch, 2) // the other visitor was ann too
	want = "1|1|1800|3|1|/a|/a|fall|1|19.99\n1|2|14|3|3|/b|/d|late|0|0"
	if got := ask(t, db, sessions, id("ann"), tenant, id("ann")); got != want {
		t.Errorf("after the merge:\n%s\nwant\n%s", got, want)
	}
}

func TestOrderItems(t *testing.T) {
	m, db := open(t)
	up(t, m)
	exec(t, db, `INSERT INTO orders (tenant_id, order_id, profile_id, status, items.product_id, items.quantity, items.price, items.name, items.category, currency, version) VALUES
		(?, 'O-1', ?, 'incomplete', ['P-0'], [9], [9], [''], [''], 'EUR', 1)`, tenant, id("ann"))
	exec(t, db, `INSERT INTO orders (tenant_id, order_id, profile_id, status, items.product_id, items.quantity, items.price, items.name, items.category, currency, version) VALUES
		(?, 'O-1', ?, 'completed', ['P-1', 'P-2'], [2, 0.5], [9.99, NULL], ['', 'Given'], ['', ''], 'EUR', 2)`, tenant, id("ann"))
	exec(t, db, `INSERT INTO products (tenant_id, product_id, name, category, version) VALUES (?, 'P-1', 'Shoe', 'shoes', 1)`, tenant)
	exec(t, db, `INSERT INTO products (tenant_id, product_id, name, category, version) VALUES (?, 'P-1', 'Boot', 'shoes', 2)`, tenant)
	exec(t, db, `INSERT INTO products (tenant_id, product_id, name, category, version) VALUES (?, 'P-2', 'Foreign', 'x', 1)`, other)
	want := "O-1|completed|P-1|2|19.98|Boot|shoes\nO-1|completed|P-2|0.5|none|Given|"
	got := ask(t, db, `SELECT order_id, status, product_id, toString(quantity), ifNull(toString(amount), 'none'), name, category FROM order_items ORDER BY product_id`)
	if got != want {
		t.Errorf("items:\n%s\nwant\n%s", got, want)
	}
}

// Who wants all there is says 1970 and the end of DateTime: half an hour before the one and a day after the other
// are not at the opposite end.
func TestSessionsOfAllTime(t *testing.T) {
	m, db := open(t)
	up(t, m)
	happen(t, db, tenant, "1", "tablet", "", 0)
	happen(t, db, tenant, "2", "tablet", "", 31)
	exec(t, db, `INSERT INTO events (tenant_id, message_id, event_type, profile_node, path, timestamp, received_at) VALUES (?, '3', 'page', ?, '/', ?, ?)`,
		tenant, id("tablet"), microseconds(noon)[:23], microseconds(noon))
	for _, since := range []string{"1970-01-01 00:00:00", "1970-01-01 00:20:00", "2026-11-23 00:00:00"} {
		for _, until := range []string{"2026-11-24 00:00:00", "2106-02-07 00:00:00", "2106-02-07 06:28:15"} {
			of := fmt.Sprintf("tenant = '%s', since = '%s', until = '%s'", tenant, since, until)
			if got := ask(t, db, "SELECT toString(events) FROM sessions_in("+of+") ORDER BY started_at"); got != "2\n1" {
				t.Errorf("sessions_in(%s): %q", of, got)
			}
			if got := ask(t, db, "SELECT toString(sessions) FROM paths("+of+", length = 3)"); got != "1" {
				t.Errorf("paths(%s): %q", of, got)
			}
		}
	}
}
