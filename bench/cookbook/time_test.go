package cookbook_test

import (
	"math/big"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/model"
)

// firsts are the periods of everybody's first event ever, before a time.
func firsts(people map[uuid.UUID][]*happening, period string, until time.Time) map[uuid.UUID]time.Time {
	first := map[uuid.UUID]time.Time{}
	for person, events := range people {
		if events[0].at.Before(until) {
			first[person] = begin(period, events[0].at)
		}
	}
	return first
}

func (w *world) retention(tenant uuid.UUID, p span, period string) (t table) {
	people := w.people(tenant)
	cohorts := map[time.Time]map[uuid.UUID]bool{}
	for person, first := range firsts(people, period, p.until) {
		if !first.Before(begin(period, p.since)) {
			put(cohorts, first, person)
		}
	}
	for cohort, members := range cohorts {
		for start := cohort; start.Before(p.until); start = following(period, start) {
			came := 0
			for person := range members {
				for _, h := range people[person] {
					if h.at.Before(p.until) && begin(period, h.at).Equal(start) {
						came++
						break
					}
				}
			}
			if came > 0 {
				t.add(date(cohort), between(period, cohort, start), len(members), came, 100*float64(came)/float64(len(members)))
			}
		}
	}
	return t
}

// standing are the completed orders that stand.
func (w *world) standing(tenant uuid.UUID) (list []*model.Order) {
	for _, o := range w.model.Orders {
		if o.Tenant == tenant && o.Status == "completed" {
			list = append(list, o)
		}
	}
	return list
}

func (w *world) cohorts(tenant uuid.UUID, p span, period string) (t table) {
	type key struct {
		cohort   time.Time
		currency string
		number   int
	}
	first := firsts(w.people(tenant), period, p.until)
	size := map[time.Time]int{}
	for person, cohort := range first {
		if cohort.Before(begin(period, p.since)) {
			delete(first, person)
		} else {
			size[cohort]++
		}
	}
	buyers, orders, revenue := map[key]map[uuid.UUID]bool{}, map[key]int{}, map[key]*big.Rat{}
	for _, o := range w.standing(tenant) {
		cohort, ok := first[o.Profile]
		if !ok || !o.CompletedAt.Before(p.until) {
			continue
		}
		k := key{cohort, o.Currency, between(period, cohort, begin(period, o.CompletedAt))}
		put(buyers, k, o.Profile)
		orders[k]++
		if revenue[k] == nil {
			revenue[k] = new(big.Rat)
		}
		revenue[k].Add(revenue[k], rat(o.Total))
	}
	for k := range orders {
		toDate := new(big.Rat)
		for other, r := range revenue {
			if other.cohort == k.cohort && other.currency == k.currency && other.number <= k.number {
				toDate.Add(toDate, r)
			}
		}
		t.add(date(k.cohort), k.currency, k.number, size[k.cohort], len(buyers[k]), orders[k], money(revenue[k]), money(toDate))
	}
	return t
}

func (w *world) active(tenant uuid.UUID, p span, period string) (t table) {
	people := w.people(tenant)
	first := firsts(people, period, p.until)
	for start := begin(period, p.since); start.Before(p.until); start = following(period, start) {
		who, fresh := 0, 0
		for person, list := range people {
			for _, h := range list {
				if h.at.Before(p.until) && begin(period, h.at).Equal(start) {
					who++
					if first[person].Equal(start) {
						fresh++
					}
					break
				}
			}
		}
		if who > 0 {
			t.add(date(start), who, fresh)
		}
	}
	return t
}

func (w *world) dailyActive(tenant uuid.UUID, p span) (t table) {
	people := w.people(tenant)
	for d := day(p.since); d.Before(p.until); d = d.AddDate(0, 0, 1) {
		var one, seven, thirty int
		for _, list := range people {
			least := 30
			for _, h := range list {
				if age := int(d.Sub(day(h.at)).Hours()) / 24; h.at.Before(p.until) && !day(h.at).After(d) {
					least = min(least, age)
				}
			}
			if least < 1 {
				one++
			}
			if least < 7 {
				seven++
			}
			if least < 30 {
				thirty++
			}
		}
		if thirty > 0 {
			t.add(date(d), one, seven, thirty)
		}
	}
	return t
}

func (w *world) topPages(tenant uuid.UUID, p span) (t table) {
	type page struct{ host, path string }
	views, who := map[page]int{}, map[page]map[uuid.UUID]bool{}
	for _, h := range w.all(tenant, func(h *happening) bool { return !h.bot && h.kind == "page" && h.in(p) }) {
		k := page{h.host, h.path}
		views[k]++
		put(who, k, h.person)
	}
	for k, n := range views {
		t.add(k.host, k.path, n, len(who[k]))
	}
	return t
}

func (w *world) pageViews(tenant uuid.UUID, p span) (t table) {
	type page struct{ day, host, path string }
	views := map[page]int{}
	for _, h := range w.all(tenant, func(h *happening) bool { return !h.bot && h.kind == "page" }) {
		if d := day(h.at); !d.Before(day(p.since)) && d.Before(p.until) {
			views[page{date(d), h.host, h.path}]++
		}
	}
	for k, n := range views {
		t.add(k.day, k.host, k.path, n)
	}
	return t
}

func (w *world) activePeople(tenant uuid.UUID, p span) (t table) {
	for person, list := range w.people(tenant) {
		days := map[time.Time]bool{}
		for _, h := range list {
			if d := day(h.at); h.at.Before(p.until) && !d.Before(day(p.since)) {
				days[d] = true
			}
		}
		for d := range days {
			t.add(date(d), person)
		}
	}
	return t
}

func (w *world) liveTraffic(tenant uuid.UUID, p span) (t table) {
	minutes := map[time.Time][]*happening{}
	for _, h := range w.all(tenant, func(h *happening) bool { return h.in(p) }) {
		m := h.at.Truncate(time.Minute)
		minutes[m] = append(minutes[m], h)
	}
	for minute, events := range minutes {
		who, orders := map[uuid.UUID]bool{}, map[string]bool{}
		pages, n, bots := 0, 0, 0
		for _, h := range events {
			if h.bot {
				bots++
				continue
			}
			n++
			who[h.person] = true
			if h.kind == "page" {
				pages++
			}
			if h.completes() && h.orderID != "" {
				orders[h.orderID] = true
			}
		}
		t.add(clock(minute), len(who), pages, n, len(orders), bots)
	}
	return t
}

func (w *world) identityQuality(tenant uuid.UUID, p span) (t table) {
	type tally struct{ events, named, recognised, collapses, merges int }
	days := map[time.Time]*tally{}
	on := func(t time.Time) *tally {
		if days[day(t)] == nil {
			days[day(t)] = new(tally)
		}
		return days[day(t)]
	}
	for _, h := range w.all(tenant, func(h *happening) bool { return !h.bot && h.in(p) }) {
		d := on(h.at)
		d.events++
		owner := w.model.Profiles[h.person]
		if h.named {
			d.named++
		} else if owner != nil && owner.Kind == "anchor" && owner.MergedInto == uuid.Nil {
			d.recognised++
		}
	}
	for _, m := range w.model.Merges {
		at := w.cause[m.Cause]
		if m.Tenant != tenant || at.Before(p.since) || !at.Before(p.until) {
			continue
		}
		if m.Kind == "collapse" {
			on(at).collapses++
		} else {
			on(at).merges++
		}
	}
	for d, n := range days {
		t.add(date(d), n.events, n.named, n.recognised, n.events-n.named-n.recognised, n.collapses, n.merges)
	}
	return t
}
