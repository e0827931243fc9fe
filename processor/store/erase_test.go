package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

// erasureRig is people in a store, one of whom goes.
type erasureRig struct {
	*pair
}

const (
	ann = "ann-zq7@example.com"
	bob = "bob@example.com"
)

// put has store i process events as one batch. The model in memory knows nothing of erasures.
func (r *erasureRig) put(i int, events ...apply.Event) Outcome {
	r.t.Helper()
	b := r.lanes[i].batch(events)
	out, err := r.stores[i].Apply(r.t.Context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	r.lanes[i].next = b.NextOffset
	return out
}

// says is a page view that says what only Ann says, and changes her attributes and an order.
func (r *erasureRig) says(device, email string) apply.Event {
	e := r.page(device, email)
	e.Type, e.Payload = event.Identify, []byte(`{"street":"zq7 road","n":`+fmt.Sprint(r.n)+`}`)
	return e
}

func (r *erasureRig) order(device, email, id string) apply.Event {
	e := r.page(device, email)
	e.Type, e.Name, e.Payload = event.Track, "Order Completed", []byte(`{"order_id":"`+id+`","total":1,"products":[{"product_id":"p"}]}`)
	return e
}

func node(kind, value string) uuid.UUID { return event.NodeID(applytest.Lenient, kind, value) }

func (r *erasureRig) erase(email string) *Erasure {
	r.t.Helper()
	profile, err := r.stores[1].Owner(r.t.Context(), applytest.Lenient, node(event.KindEmail, email))
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := r.stores[1].Erase(r.t.Context(), applytest.Lenient, profile, false)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.stores[1].EraseRest(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
	return e
}

// gone looks into every column of every table for what only Ann said.
func (r *erasureRig) gone() {
	r.t.Helper()
	pool, ctx := r.stores[1].pool, r.t.Context()
	tables, err := pool.Query(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
	if err != nil {
		r.t.Fatal(err)
	}
	defer tables.Close()
	var names []string
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			r.t.Fatal(err)
		}
		names = append(names, name)
	}
	if tables.Err() != nil || len(names) < 10 {
		r.t.Fatal(names, tables.Err())
	}
	for _, name := range names {
		var n int
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+name+" AS x WHERE x::text LIKE '%zq7%'").Scan(&n); err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			r.t.Errorf("%d rows of %s still say it", n, name)
		}
	}
	waiting, err := pool.Query(ctx, "SELECT payload FROM outbox")
	if err != nil {
		r.t.Fatal(err)
	}
	defer waiting.Close()
	for waiting.Next() {
		var payload []byte
		if err := waiting.Scan(&payload); err != nil {
			r.t.Fatal(err)
		}
		records, err := outbox.Decode(payload)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, record := range records {
			if strings.Contains(string(record.Value), "zq7") {
				r.t.Errorf("the outbox still says %s", record.Value)
			}
		}
	}
}

// people are the live profiles with their events.
func (r *erasureRig) people() map[uuid.UUID]int64 {
	r.t.Helper()
	all := map[uuid.UUID]int64{}
	for p, err := range r.stores[1].Profiles(r.t.Context(), applytest.Lenient, false) {
		if err != nil {
			r.t.Fatal(err)
		}
		if p.ProfileID != event.GraveID(applytest.Lenient) {
			all[p.ProfileID] = p.EventCount
		}
	}
	return all
}

func (r *erasureRig) want(people map[uuid.UUID]int64) {
	r.t.Helper()
	if got := r.people(); fmt.Sprint(got) != fmt.Sprint(people) {
		r.t.Errorf("people %v, want %v", got, people)
	}
}

// later is an event of the time after the erasure.
func later(e apply.Event) apply.Event {
	e.At = applytest.ProcessedAt.Add(48 * time.Hour)
	e.ReceivedAt = e.At
	return e
}

// A batch that has read the person before the erasure, from the store or from its memory, and writes
// after it, does not bring them back.
func TestErasedInBetween(t *testing.T) {
	for name, mine := range map[string]func(r *erasureRig) []apply.Event{
		"her known device":      func(r *erasureRig) []apply.Event { return []apply.Event{r.says("zq7-phone", "")} },
		"her name":              func(r *erasureRig) []apply.Event { return []apply.Event{r.says("", ann)} },
		"a new device of hers":  func(r *erasureRig) []apply.Event { return []apply.Event{r.says("zq7-new", ann)} },
		"a shadow comes to her": func(r *erasureRig) []apply.Event { return []apply.Event{r.says("zq7-shadow", ann)} },
		"her order":             func(r *erasureRig) []apply.Event { return []apply.Event{r.order("", ann, "zq7-1")} },
		"a new order":           func(r *erasureRig) []apply.Event { return []apply.Event{r.order("zq7-phone", "", "zq7-2")} },
		"her order, with others": func(r *erasureRig) []apply.Event {
			return []apply.Event{r.page("x", bob), r.order("", ann, "zq7-1"), r.page("y", "")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, proxy := newRacing(t)
			r := &erasureRig{p}
			r.put(0, r.says("zq7-phone", ""), r.page("bobs", bob))
			r.put(0, r.says("zq7-phone", ann), r.order("zq7-phone", "", "zq7-1"))
			r.put(0, r.page("zq7-shadow", ""))
			events := mine(r)
			b := r.lanes[0].batch(events)
			var once sync.Once
			between := false
			proxy.Set(func(statement string) faultproxy.Fault {
				if strings.HasPrefix(statement, "begin") {
					once.Do(func() {
						_, between = r.stores[0].memory.standing(b)
						r.erase(ann)
					})
				}
				return faultproxy.Fault{}
			})
			out, err := r.stores[0].Apply(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if !between || out.Erased != 1 || out.Applied != len(events)-1 {
				t.Errorf("between: %v, %+v", between, out)
			}
			proxy.Set(nil)
			// The shadow's own past was never hers.
			if profile, err := r.stores[1].Owner(t.Context(), applytest.Lenient, node(event.KindAnonymous, "zq7-shadow")); err == nil {
				e, err := r.stores[1].Erase(t.Context(), applytest.Lenient, profile, false)
				if err == nil {
					err = r.stores[1].EraseRest(t.Context(), e)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			r.gone()
		})
	}
}

// Whoever was erased does not come back by what happened before, and is somebody new by what happens
// afterwards; so they are in a store that the log is read into again.
func TestErasedStayAway(t *testing.T) {
	r := &erasureRig{newPair(t)}
	log := []apply.Event{
		r.says("zq7-phone", ""), r.page("bobs", bob), r.says("zq7-phone", ann), r.order("zq7-phone", "", "zq7-1"),
		r.says("pad-zq7", ann),                        // a pad at home,
		r.page("pad-zq7", bob), r.page("pad-zq7", ""), // which is Bob's from now on
		r.order("bobs", "", "b-1"),
	}
	for _, e := range log {
		r.put(0, e)
	}
	e := r.erase(ann)
	if _, err := r.stores[0].Erase(t.Context(), applytest.Lenient, e.Profiles[0], false); !errors.Is(err, ErrUnknownProfile) {
		t.Errorf("erased twice: %v", err)
	}
	bobs := map[uuid.UUID]int64{node(event.KindEmail, bob): 4}
	check := func(r *erasureRig) {
		t.Helper()
		r.want(bobs)
		for _, e := range log { // under other ids: a backfill
			e.MessageID += "-again"
			if strings.HasPrefix(e.IDs.Routing().Value, "bob") || len(e.IDs.Verified) > 0 && e.IDs.Verified[0].Value == bob || e.IDs.Routing().Value == "pad-zq7" && e.ReceivedAt.After(log[4].ReceivedAt) {
				continue
			}
			if out := r.put(1, e); out.Erased != 1 || out.Applied != 0 {
				t.Errorf("%s: %+v", e.IDs.Routing().Value, out)
			}
		}
		r.want(bobs)
		// Somebody new, in one event and in two; and Bob on the pad is Bob.
		r.put(0, later(r.page("zq7-phone", "")))
		r.put(1, later(r.says("zq7-phone", ann)))
		r.put(0, later(r.page("pad-zq7", "")), later(r.order("", ann, "zq7-1")))
		reborn := event.RebornID(node(event.KindEmail, ann), e.Until.Add(time.Millisecond))
		r.want(map[uuid.UUID]int64{node(event.KindEmail, bob): 5, reborn: 3})
		for p, err := range r.stores[1].Profiles(t.Context(), applytest.Lenient, false) {
			if err != nil {
				t.Fatal(err)
			}
			if p.ProfileID == reborn && (strings.Contains(string(p.Attributes), `"n":1,`) || !p.FirstSeen.After(e.Until) || len(p.Identifiers) != 2) {
				t.Errorf("reborn as %+v", p)
			}
		}
	}
	check(r)
	if again := r.erase(ann); !again.Until.After(e.Until) {
		t.Errorf("until %s, then %s", e.Until, again.Until)
	}
	r.want(map[uuid.UUID]int64{node(event.KindEmail, bob): 5})

	// The log again, into a store that knows of the first erasure only.
	fresh := &erasureRig{newPair(t)}
	if err := fresh.stores[0].EraseAgain(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	erased := 0
	for _, e := range log {
		erased += fresh.put(0, e).Erased
	}
	if erased != 4 {
		t.Errorf("%d events were left out", erased)
	}
	fresh.n = r.n
	check(fresh)
}

// A device that two people had, who are both erased, is nobody's, and then somebody new's.
func TestErasedOneAfterTheOther(t *testing.T) {
	r := &erasureRig{newPair(t)}
	r.put(0, r.says("zq7-pad", ann))
	r.put(0, r.page("zq7-pad", bob))
	r.put(0, r.page("zq7-pad", ann))
	r.put(0, r.page("zq7-pad", bob))
	r.erase(bob)
	r.want(map[uuid.UUID]int64{node(event.KindEmail, ann): 2})
	r.put(0, later(r.page("zq7-pad", "")))
	if got := r.people(); len(got) != 2 {
		t.Errorf("people %v", got)
	}
	e := r.erase(ann)
	if n := len(e.Nodes); n != 3 { // her name, and the pad twice
		t.Errorf("%d nodes: %+v", n, e.Nodes)
	}
	out := r.put(0, later(r.page("zq7-pad", "")))
	if out.Applied != 1 || len(r.people()) != 1 {
		t.Errorf("%+v, people %v", out, r.people())
	}
}

// Whoever is erased for ever is not taken again, whenever.
func TestErasedForever(t *testing.T) {
	r := &erasureRig{newPair(t)}
	r.put(0, r.says("zq7-phone", ann))
	if _, err := r.stores[0].Erase(t.Context(), applytest.Lenient, node(event.KindEmail, ann), true); err != nil {
		t.Fatal(err)
	}
	if out := r.put(0, later(r.says("zq7-phone", "")), later(r.page("other", ""))); out.Erased != 1 || out.Applied != 1 {
		t.Errorf("%+v", out)
	}
}

// A page removes what a page holds, and the next one the rest.
func TestErasesInPages(t *testing.T) {
	dsn := newDSN(t)
	few := func(c *Config) { c.ReadPage, c.OutboxPage = 2, 2 }
	r := &erasureRig{pairOf(t, newStore(t, dsn, few), newStore(t, dsn, few))}
	for n := range 7 {
		r.put(0, r.says("zq7-phone", ann), r.order("", ann, fmt.Sprint("zq7-", n)))
	}
	e := r.erase(ann)
	if e.StateStore["orders"] != 7 || e.StateStore["attribute_changes"] != 7 || e.StateStore["outbox"] < 7 {
		t.Errorf("%v", e.StateStore)
	}
	r.gone()
}
