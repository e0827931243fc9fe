package cookbook_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// people are the events of a tenant, person by person, each person's in their order. Bots are left
// out, as the views do.
func (w *world) people(tenant uuid.UUID) map[uuid.UUID][]*happening {
	return group(w.all(tenant, func(h *happening) bool { return !h.bot }))
}

func group(events []*happening) map[uuid.UUID][]*happening {
	of := map[uuid.UUID][]*happening{}
	for _, h := range events {
		of[h.person] = append(of[h.person], h)
	}
	for _, list := range of {
		slices.SortFunc(list, func(a, b *happening) int {
			return cmp.Or(a.at.Compare(b.at), a.received.Compare(b.received))
		})
	}
	return of
}

func (w *world) all(tenant uuid.UUID, keep func(*happening) bool) (list []*happening) {
	for i := range w.events {
		if h := &w.events[i]; h.tenant == tenant && keep(h) {
			list = append(list, h)
		}
	}
	return list
}

// session is events of a person with no pause of more than half an hour.
type session struct {
	person uuid.UUID
	number int
	events []*happening
}

func sessions(people map[uuid.UUID][]*happening) (all []session) {
	for person, events := range people {
		number := 0
		for i, h := range events {
			if i == 0 || h.at.Sub(events[i-1].at) > 30*time.Minute {
				number++
				all = append(all, session{person: person, number: number})
			}
			last := &all[len(all)-1]
			last.events = append(last.events, h)
		}
	}
	return all
}

func (s *session) start() time.Time { return s.events[0].at }

func (s *session) seconds() float64 {
	return float64(s.events[len(s.events)-1].at.Sub(s.start()).Milliseconds()) / 1000
}

func (s *session) pages() (list []*happening) {
	for _, h := range s.events {
		if h.kind == "page" {
			list = append(list, h)
		}
	}
	return list
}

// way is the paths of the pages, one that follows itself only once.
func (s *session) way() (list []string) {
	for i, h := range s.pages() {
		if i == 0 || list[len(list)-1] != h.path {
			list = append(list, h.path)
		}
	}
	return list
}

func (s *session) orders() int {
	ids := map[string]bool{}
	for _, h := range s.events {
		if h.completes() && h.orderID != "" {
			ids[h.orderID] = true
		}
	}
	return len(ids)
}

// sessionsIn are those that began in the time.
func (w *world) sessionsIn(tenant uuid.UUID, p span) []session {
	return slices.DeleteFunc(sessions(w.people(tenant)), func(s session) bool {
		return s.start().Before(p.since) || !s.start().Before(p.until)
	})
}

func (w *world) sessionTable(tenant uuid.UUID, p span) (t table) {
	for _, s := range w.sessionsIn(tenant, p) {
		first, last := new(happening), new(happening)
		if pages := s.pages(); len(pages) > 0 {
			first, last = pages[0], pages[len(pages)-1]
		}
		t.add(s.person, clock(s.start()), clock(s.events[len(s.events)-1].at), s.seconds(), len(s.events), len(s.pages()), s.way(),
			first.path, last.path, first.referrer, first.referringDomain, first.source, first.medium, first.campaign, s.orders())
	}
	return t
}

func (w *world) pathTable(tenant uuid.UUID, p span, length int) (t table) {
	count, who := map[string]int{}, map[string]map[uuid.UUID]bool{}
	for _, s := range w.sessionsIn(tenant, p) {
		way := s.way()
		if len(way) == 0 {
			continue
		}
		key := fmt.Sprint(way[:min(length, len(way))])
		count[key]++
		put(who, key, s.person)
	}
	for key, n := range count {
		t.add(key, n, len(who[key]))
	}
	return t
}

// put adds to a set in a map of sets.
func put[K, V comparable](sets map[K]map[V]bool, key K, value V) {
	if sets[key] == nil {
		sets[key] = map[V]bool{}
	}
	sets[key][value] = true
}

// funnel counts, for each step, the people who got there: from any first step on, with an event of
// its own for each step, none before the one before, all within the window from the first.
func (w *world) funnel(tenant uuid.UUID, p span, steps []string, window time.Duration) (t table) {
	reached := make([]int, len(steps))
	any := false
	for _, events := range w.people(tenant) {
		events = slices.DeleteFunc(slices.Clone(events), func(h *happening) bool {
			return !h.in(p) || !slices.ContainsFunc(steps, func(s string) bool { return is(h, s) })
		})
		most := 0
		for _, h := range events {
			if is(h, steps[0]) {
				most = max(most, 1+climb(events, steps[1:], h.at, h.at.Add(window), map[*happening]bool{h: true}))
			}
		}
		for i := range most {
			reached[i]++
		}
		any = any || len(events) > 0
	}
	if !any {
		return nil
	}
	for i, n := range reached {
		before := reached[max(i-1, 0)]
		t.add(i+1, steps[i], n, 100*float64(n)/float64(max(reached[0], 1)), 100*float64(n)/float64(max(before, 1)))
	}
	return t
}

// climb is how many further steps can be done from a time on. The earliest event of a step is always
// best; of several at that time, one may be needed for the next step.
func climb(events []*happening, steps []string, from, until time.Time, used map[*happening]bool) (most int) {
	if len(steps) == 0 {
		return 0
	}
	var at time.Time
	for _, h := range events {
		if h.at.Before(from) || h.at.After(until) || used[h] || !is(h, steps[0]) || most > 0 && !h.at.Equal(at) {
			continue
		}
		at = h.at
		used[h] = true
		most = max(most, 1+climb(events, steps[1:], h.at, until, used))
		delete(used, h)
	}
	return most
}

// is tells whether an event is a step: one of its alternatives is its name, its type, or its path.
func is(h *happening, step string) bool {
	for _, one := range strings.Split(step, "|") {
		if h.kind == one || h.kind == "page" && h.path == one {
			return true
		}
		name := happening{name: one}
		if h.plain == strings.Join(strings.Fields(strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(name.name))), " ") {
			return true
		}
	}
	return false
}
