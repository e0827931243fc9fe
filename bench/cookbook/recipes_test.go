package cookbook_test

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/processor/model"
)

// everySession holds the view sessions, which knows no time and leaves bots in, against all of them.
func everySession(t *testing.T, conn driver.Conn, w *world) {
	for _, tenant := range []uuid.UUID{north, south} {
		var want table
		for _, s := range sessions(group(w.all(tenant, func(*happening) bool { return true }))) {
			want.add(s.person, s.number, clock(s.start()), s.seconds(), len(s.events), len(s.pages()), s.orders())
		}
		same(t, "sessions", ask(t, conn, fmt.Sprintf(`SELECT profile_id, session_number, started_at, duration_seconds, events, pages, orders
			FROM sessions WHERE tenant_id = '%s'`, tenant), nil), want)
	}
}

// answers are the cookbook's, by hand, in the order the questions ask for.
var answers = map[string]func(*world, uuid.UUID, span) table{
	"Which campaigns bring paying customers?": func(w *world, tenant uuid.UUID, _ span) table {
		return ordered(w.firstCampaigns(tenant), 20, "-4", "0", "1")
	},
	"How many people get from looking at a page to an order?": func(w *world, tenant uuid.UUID, p span) table {
		t := w.funnel(tenant, p, []string{"page", "Product Added|Added to Cart", "Checkout Started", "Order Completed"}, 7*24*time.Hour)
		return rounded(ordered(t, 10, "0"), 1, 3, 4)
	},
	"What sells best?": func(w *world, tenant uuid.UUID, _ span) table {
		return ordered(w.bestSellers(tenant), 10, "-6", "0", "2")
	},
	"How do products do, from looks to orders?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.productPerformance(tenant, p) {
			t.add(r[0], r[1], r[4], r[6], r[8], r[9], 100*number(r[8])/max(number(r[4]), 1), r[10])
		}
		return rounded(ordered(t, 20, "-4", "-5", "0"), 1, 6)
	},
	"What happened, day by day?": func(w *world, tenant uuid.UUID, p span) (t table) {
		days := map[string][]*happening{}
		for _, h := range w.all(tenant, func(h *happening) bool { return h.in(p) }) {
			days[date(h.at)] = append(days[date(h.at)], h)
		}
		for d, list := range days {
			pages := 0
			for _, h := range list {
				if h.kind == "page" {
					pages++
				}
			}
			t.add(d, len(list), len(group(list)), pages)
		}
		return ordered(t, 0, "0")
	},
	"How many people are active, by day, week and month?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.dailyActive(tenant, p) {
			t.add(r[0], r[1], r[2], r[3], 100*number(r[1])/number(r[3]))
		}
		return rounded(ordered(t, 10, "0"), 1, 4)
	},
	"How many people are active by calendar week, and how many of them are new?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.active(tenant, p, "week") {
			t.add(r[0], r[1], r[2], number(r[1])-number(r[2]))
		}
		return ordered(t, 0, "0")
	},
	"What is going on right now?": func(w *world, tenant uuid.UUID, p span) table {
		return ordered(w.liveTraffic(tenant, span{p.until.Add(-30 * time.Minute), p.until}), 0, "0")
	},
	"Which pages are viewed most?": func(w *world, tenant uuid.UUID, p span) table {
		return ordered(w.topPages(tenant, p), 20, "-2", "0", "1")
	},
	"Which pages are viewed most, over a long time?": func(w *world, tenant uuid.UUID, p span) (t table) {
		views := map[string]int{}
		for _, r := range w.pageViews(tenant, p) {
			views[r[2]] += int(number(r[3]))
		}
		for path, n := range views {
			t.add(path, n)
		}
		return ordered(t, 20, "-1", "0")
	},
	"Which ways do people go?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.pathTable(tenant, p, 3) {
			t.add(strings.ReplaceAll(strings.Trim(r[0], "[]"), " ", " > "), r[1], r[2])
		}
		return ordered(t, 20, "-1", "0")
	},
	"How do visits go?": func(w *world, tenant uuid.UUID, p span) table {
		return rounded(ordered(w.visits(tenant, p), 0, "0"), 0, 4)
	},
	"Which visit was it of a person, over all time?": func(w *world, tenant uuid.UUID, _ span) (t table) {
		visits, with := map[int]int{}, map[int]int{}
		for _, s := range sessions(group(w.all(tenant, func(*happening) bool { return true }))) {
			visits[s.number]++
			if s.orders() > 0 {
				with[s.number]++
			}
		}
		for n := range visits {
			t.add(n, visits[n], with[n], 100*float64(with[n])/float64(visits[n]))
		}
		return rounded(ordered(t, 10, "0"), 1, 3)
	},
	"Do people come back?": func(w *world, tenant uuid.UUID, p span) table {
		return rounded(ordered(w.retention(tenant, p, "day"), 0, "0", "1"), 1, 4)
	},
	"What are people worth, by when they first came?": func(w *world, tenant uuid.UUID, p span) table {
		return ordered(w.cohorts(tenant, p, "week"), 0, "0", "1", "2")
	},
	"Which campaigns do people meet first, before they order?": attributed("first"),
	"Which campaigns close an order?":                          attributed("last"),
	"Which campaigns have a part in orders?":                   attributed("linear"),
	"Which campaigns have a part in orders, late ones more?":   attributed("time_decay"),
	"What does each campaign bring in, day by day?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.revenueByCampaign(tenant, p) {
			t.add(r[0], r[1], r[3], r[4], r[5], r[6], r[7])
		}
		return ordered(t, 0, "0", "1", "2", "3")
	},
	"Which carts were left behind?": func(w *world, tenant uuid.UUID, p span) (t table) {
		for _, r := range w.abandonedCarts(tenant, p.until, time.Hour) {
			t.add(r[0], r[1], r[2], r[3], r[5], r[7], r[8])
		}
		return ordered(t, 100, "-5", "0")
	},
	"How well do we know who people are?": func(w *world, tenant uuid.UUID, p span) table {
		return ordered(w.identityQuality(tenant, p), 0, "0")
	},
	"What has this customer ever done?": func(w *world, tenant uuid.UUID, _ span) (t table) {
		for _, h := range group(w.all(tenant, func(*happening) bool { return true }))[w.ann(tenant)] {
			t.add(clock(h.at), h.kind, h.name, h.path, h.campaign)
		}
		return t
	},
	"Where in the shop are products put into the cart?": func(w *world, tenant uuid.UUID, _ span) (t table) {
		count, products := map[string]int{}, map[string]map[string]bool{}
		for _, h := range w.all(tenant, func(h *happening) bool { return h.name == "Added to Cart" || h.name == "Product Added" }) {
			count[h.list]++ // none and empty are printed alike
			for _, p := range h.products {
				put(products, h.list, p)
			}
		}
		for list, n := range count {
			t.add(list, n, fmt.Sprint(sortedKeys(products[list])))
		}
		return ordered(t, 0, "-1", "0")
	},
	"How did this customer's attributes come about?": func(w *world, tenant uuid.UUID, _ span) (t table) {
		for _, c := range w.model.Lineage {
			if c.Profile == w.ann(tenant) {
				t.add(c.Version, c.Path, c.Op, text(c.Old), text(c.New), c.Cause, clock(c.At))
			}
		}
		return ordered(t, 0, "0")
	},
	"Where do customers live?": func(w *world, tenant uuid.UUID, _ span) (t table) {
		people, events := map[string]int{}, map[string]int64{}
		for _, p := range w.model.Profiles {
			if p.Tenant == tenant && p.Kind == "anchor" && p.MergedInto == uuid.Nil {
				city, _ := p.Attributes["city"].(string)
				people[city]++
				events[city] += p.EventCount
			}
		}
		for city := range people {
			t.add(city, people[city], events[city])
		}
		return ordered(t, 0, "0")
	},
}

// everyRecipe asks each question of the cookbook about each tenant.
func everyRecipe(t *testing.T, conn driver.Conn, w *world) {
	asked := 0
	for _, q := range analytics.Cookbook() {
		answer, ok := answers[q.Title]
		if !ok {
			t.Errorf("%q has no answer by hand", q.Title)
			continue
		}
		asked++
		t.Run(q.Title, func(t *testing.T) {
			for _, tenant := range []uuid.UUID{north, south} {
				for _, p := range []span{spans[0], {spans[2].since, at("2026-11-10 09:25:00")}} {
					want := answer(w, tenant, p)
					got := ask(t, conn, q.SQL, map[string]string{
						"tenant": tenant.String(), "since": clock(p.since), "until": clock(p.until), "now": clock(p.until),
						"email": "ann@example.com", "profile": w.ann(tenant).String(),
					})
					equal(t, fmt.Sprint(tenant, p), got, want)
				}
				if len(answer(w, tenant, spans[0])) == 0 && q.Title != "What is going on right now?" {
					t.Error("nothing to compare")
				}
			}
		})
	}
	if asked != len(answers) {
		t.Errorf("%d of %d answers were asked for", asked, len(answers))
	}
}

func attributed(rule string) func(*world, uuid.UUID, span) table {
	return func(w *world, tenant uuid.UUID, p span) table {
		return ordered(rounded(rounded(w.attribution(tenant, p, rule, 30, 7), 3, 5), 2, 6), 20, "-6", "0", "1", "2", "3")
	}
}

// ann is a customer whom both tenants have.
func (w *world) ann(tenant uuid.UUID) uuid.UUID {
	for _, i := range w.model.Identifiers {
		if i.Tenant == tenant && i.Value == "ann@example.com" {
			return i.Spans[len(i.Spans)-1].Profile
		}
	}
	panic("there is no Ann")
}

func (w *world) firstCampaigns(tenant uuid.UUID) (t table) {
	type key struct{ campaign, currency string }
	who, orders, spent := map[key]map[uuid.UUID]bool{}, map[key]int{}, map[key]*big.Rat{}
	people := group(w.all(tenant, func(*happening) bool { return true }))
	for _, o := range w.standing(tenant) {
		if people[o.Profile] == nil {
			continue
		}
		k := key{"(none)", o.Currency}
		for _, h := range people[o.Profile] {
			if h.campaign != "" {
				k.campaign = h.campaign
				break
			}
		}
		put(who, k, o.Profile)
		orders[k]++
		if spent[k] == nil {
			spent[k] = new(big.Rat)
		}
		spent[k].Add(spent[k], rat(o.Total))
	}
	for k := range orders {
		t.add(k.campaign, k.currency, len(who[k]), orders[k], money(spent[k]))
	}
	return t
}

func (w *world) bestSellers(tenant uuid.UUID) (t table) {
	type key struct{ product, currency string }
	orders, who := map[key]map[string]bool{}, map[key]map[uuid.UUID]bool{}
	pieces, sales := map[key]*big.Rat{}, map[key]*big.Rat{}
	for _, o := range w.standing(tenant) {
		for _, x := range o.Items {
			k := key{x.Product, o.Currency}
			put(orders, k, o.ID)
			put(who, k, o.Profile)
			if pieces[k] == nil {
				pieces[k], sales[k] = new(big.Rat), new(big.Rat)
			}
			pieces[k].Add(pieces[k], rat(x.Quantity))
			sales[k].Add(sales[k], new(big.Rat).Mul(rat(x.Quantity), rat(x.Price)))
		}
	}
	for k := range orders {
		name := w.model.Products[model.OrderKey{Tenant: tenant, ID: k.product}].Name
		t.add(k.product, name, k.currency, len(orders[k]), len(who[k]), money(pieces[k]), money(sales[k]))
	}
	return t
}

func (w *world) visits(tenant uuid.UUID, p span) (t table) {
	days := map[string][]session{}
	for _, s := range w.sessionsIn(tenant, p) {
		days[date(s.start())] = append(days[date(s.start())], s)
	}
	for d, list := range days {
		who, bounces, seconds, orders := map[uuid.UUID]bool{}, 0, 0., 0
		for _, s := range list {
			who[s.person] = true
			seconds += s.seconds()
			orders += s.orders()
			if len(s.events) == 1 {
				bounces++
			}
		}
		t.add(d, len(list), len(who), bounces, seconds/float64(len(list)), orders)
	}
	return t
}

func text(v any) string {
	if v == model.Absent {
		return ""
	}
	return model.Text(v)
}

func sortedKeys(set map[string]bool) []string {
	keys := []string{}
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func number(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return f
}

// ordered sorts by columns, those with a minus from the highest on, and cuts at a limit, 0 for none.
func ordered(t table, limit int, by ...string) table {
	slices.SortStableFunc(t, func(a, b []string) int {
		for _, c := range by {
			i, err := strconv.Atoi(strings.TrimPrefix(c, "-"))
			if err != nil {
				panic(err)
			}
			n := strings.Compare(a[i], b[i])
			x, errX := strconv.ParseFloat(a[i], 64)
			y, errY := strconv.ParseFloat(b[i], 64)
			if errX == nil && errY == nil {
				n = cmp.Compare(x, y)
			}
			if c[0] == '-' {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	if limit > 0 && len(t) > limit {
		t = t[:limit]
	}
	return t
}

// rounded has columns with so many places.
func rounded(t table, places int, columns ...int) table {
	for _, r := range t {
		for _, i := range columns {
			scale := math.Pow10(places)
			r[i] = fmt.Sprint(math.RoundToEven(number(r[i])*scale) / scale)
		}
	}
	return t
}
