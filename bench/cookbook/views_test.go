package cookbook_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
)

// spans are the times asked about: all of it, a part that begins and ends in the middle of things,
// days at the edges, and one in which nothing happened.
var spans = []span{
	{at("2026-09-01 00:00:00"), at("2027-01-01 00:00:00")},
	{at("2026-10-09 13:37:11"), at("2026-10-24 02:00:30")},
	{at("2026-11-05 12:30:00"), at("2026-11-30 23:59:00")},
	{at("2020-01-01 00:00:00"), at("2020-02-01 00:00:00")},
}

func at(text string) time.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return t
}

// The views answer what plain Go counts.
func TestViews(t *testing.T) {
	w := newWorld(t)
	conn := w.load(t)
	for name, tenant := range map[string]uuid.UUID{"north": north, "south": south} {
		for i, p := range spans {
			if tenant == south && i > 0 {
				break // it is there to be told from the other
			}
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				viewsOf(t, conn, w, tenant, p)
				if i == 0 || i == 2 {
					parametersOf(t, conn, w, tenant, p)
				}
			})
		}
	}
	t.Run("refusals", func(t *testing.T) { refusals(t, conn) })
	t.Run("sessions", func(t *testing.T) { everySession(t, conn, w) })
	t.Run("dashboard", func(t *testing.T) { everyPanel(t, conn) })
	t.Run("cookbook", func(t *testing.T) { everyRecipe(t, conn, w) })
}

// check compares a view's answer with what is counted.
func check(t *testing.T, conn driver.Conn, tenant uuid.UUID, p span, view, arguments string, want table) {
	t.Helper()
	if arguments != "" {
		arguments = ", " + arguments
	}
	columns := "*"
	if view == "sessions_in" {
		columns = "* EXCEPT (device_class)" // the sink's own reading of the user agent
	}
	sql := fmt.Sprintf("SELECT %s FROM %s(tenant = '%s', since = '%s', until = '%s'%s)", columns, view, tenant, clock(p.since), clock(p.until), arguments)
	same(t, view+arguments, ask(t, conn, sql, nil), want)
}

func viewsOf(t *testing.T, conn driver.Conn, w *world, tenant uuid.UUID, p span) {
	check(t, conn, tenant, p, "sessions_in", "", w.sessionTable(tenant, p))
	check(t, conn, tenant, p, "paths", "length = 3", w.pathTable(tenant, p, 3))
	check(t, conn, tenant, p, "top_pages", "", w.topPages(tenant, p))
	check(t, conn, tenant, p, "live_traffic", "", w.liveTraffic(tenant, p))
	check(t, conn, tenant, p, "page_views", "", w.pageViews(tenant, p))
	check(t, conn, tenant, p, "active_people", "", w.activePeople(tenant, p))
	check(t, conn, tenant, p, "daily_active", "", w.dailyActive(tenant, p))
	check(t, conn, tenant, p, "identity_quality", "", w.identityQuality(tenant, p))
	check(t, conn, tenant, p, "product_performance", "", w.productPerformance(tenant, p))
	check(t, conn, tenant, p, "revenue_by_campaign", "", w.revenueByCampaign(tenant, p))
	for _, period := range []string{"day", "week", "month"} {
		check(t, conn, tenant, p, "active", "period = '"+period+"'", w.active(tenant, p, period))
		check(t, conn, tenant, p, "retention", "period = '"+period+"'", w.retention(tenant, p, period))
		check(t, conn, tenant, p, "cohorts", "period = '"+period+"'", w.cohorts(tenant, p, period))
	}
}

// parametersOf tries what the views can be told.
func parametersOf(t *testing.T, conn driver.Conn, w *world, tenant uuid.UUID, p span) {
	for _, steps := range [][]string{
		{"page", "Product Added|Added to Cart", "Checkout Started", "Order Completed"},
		{"Product Viewed", "product_added", "CHECKOUT-STARTED", "order completed", "page"},
		{"page", "/checkout"}, {"page", "page", "page"}, {"identify"}, {"nothing of the kind", "page"},
	} {
		for _, window := range []int{0, 604800} {
			check(t, conn, tenant, p, "funnel", fmt.Sprintf("steps = ['%s'], window_seconds = %d", strings.Join(steps, "', '"), window),
				w.funnel(tenant, p, steps, time.Duration(window)*time.Second))
		}
	}
	for _, model := range []string{"first", "last", "linear", "time_decay"} {
		const arguments = "model = '%s', lookback_days = %d, half_life_days = 2.5"
		check(t, conn, tenant, p, "attributed_orders", fmt.Sprintf(arguments, model, 30), w.creditTable(tenant, p, model, 30, 2.5))
		check(t, conn, tenant, p, "attribution", fmt.Sprintf(arguments, model, 1), w.attribution(tenant, p, model, 1, 2.5))
	}
	for _, idle := range []int{0, 60, 60 * 24 * 30} {
		sql := fmt.Sprintf("SELECT * FROM abandoned_carts(tenant = '%s', as_of = '%s', idle_minutes = %d)", tenant, clock(p.until), idle)
		same(t, "abandoned_carts", ask(t, conn, sql, nil), w.abandonedCarts(tenant, p.until, time.Duration(idle)*time.Minute))
	}
}

// What a view does not understand it refuses.
func refusals(t *testing.T, conn driver.Conn) {
	head := fmt.Sprintf("(tenant = '%s', since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00'", north)
	for call, want := range map[string]string{
		"funnel" + head + ", window_seconds = 1, steps = ['a','b','c','d','e','f','g','h','i','j','page'])": "one to ten steps",
		"attribution" + head + ", model = 'u', lookback_days = 30, half_life_days = 7)":                     "first, last, linear or time_decay",
		"active" + head + ", period = 'fortnight')":                                                         "fortnight",
		"retention" + head + ")": "period",
	} {
		if _, err := query.Table(t.Context(), conn, "SELECT * FROM "+call, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func ask(t *testing.T, conn driver.Conn, sql string, parameters map[string]string) table {
	t.Helper()
	answer, err := query.Table(t.Context(), conn, sql, parameters)
	if err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
	return answer.Rows
}

// same compares answers in any order.
func same(t *testing.T, what string, got, want table) {
	t.Helper()
	equal(t, what, normal(got).sorted(), normal(want).sorted())
}

// equal compares answers in their order, and shows where they differ first.
func equal(t *testing.T, what string, got, want table) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s: missing %q", what, want[i])
		case i >= len(want):
			t.Errorf("%s: too much: %q", what, got[i])
		case !slices.EqualFunc(got[i], want[i], sameCell):
			t.Errorf("%s: row %d:\n got %q\nwant %q", what, i, got[i], want[i])
		default:
			continue
		}
		return
	}
}

// normal is a table in which floats have six places, so that the order of their sums does not show.
func normal(t table) table {
	out := make(table, len(t))
	for i, row := range t {
		out[i] = make([]string, len(row))
		for k, cell := range row {
			out[i][k] = cell
			if f, err := strconv.ParseFloat(cell, 64); err == nil && f != math.Trunc(f) {
				out[i][k] = strconv.FormatFloat(f, 'f', 6, 64)
			}
		}
	}
	return out
}

// sameCell compares numbers within what rounding may do to them.
func sameCell(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && strings.ContainsAny(a+b, ".e") && math.Abs(x-y) <= 2e-6+1e-9*math.Abs(x)
}
