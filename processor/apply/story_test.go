package apply_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/model"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// story is what happens in an acceptance case, one event after the other, a second apart.
type story struct {
	settings map[uuid.UUID]*event.Settings
	events   []*apply.Event
}

// tell makes a story of what f says, and holds the end of it against expect: told in one batch, one
// event at a time, in pairs, and over two partitions.
func tell(t *testing.T, f func(s *story), expect func(t *testing.T, e ending)) {
	t.Helper()
	s := &story{}
	f(s)
	for name, play := range map[string]struct {
		lanes int
		cut   func(int) bool
	}{
		"in one batch":             {1, applytest.Whole},
		"in pairs":                 {1, func(n int) bool { return n%2 == 0 }},
		"one by one":               {1, applytest.Singly},
		"spread over 2 partitions": {2, applytest.Whole},
	} {
		t.Run(name, func(t *testing.T) {
			log := make([]applytest.Entry, len(s.events))
			for n, e := range s.events {
				log[n] = applytest.Entry{Lane: strconv.Itoa(n % play.lanes), Event: *e}
			}
			end, err := applytest.Play(s.settings, log, play.cut)
			if err != nil {
				t.Fatal(err)
			}
			if err := end.Check(); err != nil {
				t.Error(err)
			}
			if diff := model.Diff(applytest.PlayModel(s.settings, log), end.Model()); diff != "" {
				t.Errorf("the model (-) and the fold (+) differ:\n%s", diff)
			}
			expect(t, ending{t, end})
		})
	}
}

var tenant = applytest.Lenient

func id(kind, value string) event.Identifier           { return applytest.ID(tenant, kind, value) }
func device(value string) event.Identifier             { return id(event.KindAnonymous, value) }
func crm(value string) event.Identifier                { return id(event.KindCRM, value) }
func mail(value string) event.Identifier               { return id(event.KindEmail, value) }
func phone(value string) event.Identifier              { return id(event.KindPhone, value) }
func group(ids ...event.Identifier) []event.Identifier { return ids }

// happens adds an event; what it is beside its type and people can be set on the answer.
func (s *story) happens(kind event.Type, ids ...event.Identifier) *apply.Event {
	n := len(s.events)
	at := start.Add(time.Duration(n) * time.Second)
	e := &apply.Event{Tenant: tenant, MessageID: "m" + strconv.Itoa(n), Type: kind, At: at, ReceivedAt: at.Add(time.Millisecond)}
	for _, i := range ids {
		if i.Kind == event.KindAnonymous {
			e.IDs.Anonymous = append(e.IDs.Anonymous, i)
		} else {
			e.IDs.Verified = append(e.IDs.Verified, i)
		}
	}
	s.events = append(s.events, e)
	return e
}

func (s *story) page(ids ...event.Identifier) *apply.Event { return s.happens(event.Page, ids...) }

func (s *story) identify(payload string, ids ...event.Identifier) *apply.Event {
	e := s.happens(event.Identify, ids...)
	e.Payload = []byte(payload)
	return e
}

func (s *story) track(name, payload string, ids ...event.Identifier) *apply.Event {
	e := s.happens(event.Track, ids...)
	e.Name, e.Payload = name, []byte(payload)
	return e
}

func (s *story) limit(kind string, n int) {
	settings := event.DefaultSettings()
	settings.Limits = map[string]int{kind: n}
	s.settings = map[uuid.UUID]*event.Settings{tenant: &settings}
}

// ending is the state after a story.
type ending struct {
	t *testing.T
	*applytest.Store
}

func (e ending) owner(id event.Identifier) identity.Profile {
	e.t.Helper()
	p, ok := e.Owner(id.Node)
	if !ok {
		e.t.Fatalf("%s %s has no owner", id.Kind, id.Value)
	}
	return p
}

// people expects the live profiles to own exactly these groups of identifiers.
func (e ending) people(groups ...[]event.Identifier) {
	e.t.Helper()
	owned := 0
	seen := map[uuid.UUID]bool{}
	for _, g := range groups {
		p := e.owner(g[0])
		if seen[p.ID] {
			e.t.Errorf("%s %s is with another group", g[0].Kind, g[0].Value)
		}
		seen[p.ID] = true
		for _, i := range g {
			if e.owner(i).ID != p.ID {
				e.t.Errorf("%s %s and %s %s are apart", g[0].Kind, g[0].Value, i.Kind, i.Value)
			}
		}
		owned += len(g)
	}
	if live := len(e.Live()); live != len(groups) || owned != len(e.Identifiers) {
		e.t.Errorf("%d profiles live with %d identifiers, want %d with %d", live, len(e.Identifiers), len(groups), owned)
	}
}

func (e ending) counts(name string, got, want int) {
	e.t.Helper()
	if got != want {
		e.t.Errorf("%s: %d, want %d", name, got, want)
	}
}

func (e ending) attributes(id event.Identifier, want string) {
	e.t.Helper()
	p := e.owner(id)
	if got := string(p.Attributes.Text()); got != want {
		e.t.Errorf("attributes of %s %s: %s, want %s", id.Kind, id.Value, got, want)
	}
}

// paths are the paths of the lineage, with their ops, in order.
func (e ending) paths() (paths []string) {
	for _, l := range e.Lineage {
		for _, c := range l.Changes {
			paths = append(paths, c.Op+" "+c.Path)
		}
	}
	return paths
}

func (e ending) order(id string) event.OrderState {
	e.t.Helper()
	o, ok := e.Orders[apply.OrderKey{Tenant: tenant, ID: id}]
	if !ok {
		e.t.Fatalf("there is no order %s", id)
	}
	return o
}

// lastAt is the time of the last event.
func lastAt(e ending) (at time.Time) {
	for _, p := range e.Live() {
		if p.LastSeen.After(at) {
			at = p.LastSeen
		}
	}
	return at
}

// kinds are those of the merges, in order.
func kinds(e ending) (kinds string) {
	for _, m := range e.Merges {
		kinds += m.Kind
	}
	return kinds
}
