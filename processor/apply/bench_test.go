package apply_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

const pagePayload = `{"path":"/products/chairs","url":"https://shop.example/products/chairs?utm_source=mail&utm_medium=crm","title":"Chairs for every room","referrer":"https://www.example.com/search?q=chair","search":"?utm_source=mail"}`

// visits is a batch of page views by known shadows, and their state before.
func visits(n, visitors int) (events []apply.Event, state func() *apply.State) {
	ids := make([]event.Identifier, visitors)
	for v := range ids {
		ids[v] = device("visitor-" + strconv.Itoa(v))
	}
	events = make([]apply.Event, n)
	for i := range events {
		at := start.Add(time.Duration(i) * time.Millisecond)
		events[i] = apply.Event{Tenant: tenant, MessageID: "m" + strconv.Itoa(i), Type: event.Page, Name: "Chairs",
			IDs: event.Identifiers{Anonymous: ids[i%visitors : i%visitors+1]}, Payload: []byte(pagePayload), At: at, ReceivedAt: at}
	}
	return events, func() *apply.State {
		st := &apply.State{Identifiers: map[uuid.UUID]*identity.Identifier{}, Profiles: map[uuid.UUID]*identity.Profile{}}
		for _, id := range ids {
			st.Identifiers[id.Node] = &identity.Identifier{Tenant: tenant, Node: id.Node, Kind: id.Kind, Value: id.Value, ProfileID: id.Node, Version: 1}
			st.Profiles[id.Node] = &identity.Profile{Tenant: tenant, ID: id.Node, Kind: identity.Shadow, Attributes: attribute.Document{},
				FirstSeen: start, LastSeen: start, CreatedAt: start, Version: 1, Owned: identity.Counts{{Kind: id.Kind, N: 1}}}
		}
		return st
	}
}

// An event that only moves the counters of a loaded profile allocates nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	const runs, visitors = 20, 100
	allocs := func(events []apply.Event, state func() *apply.State) float64 {
		var states []*apply.State
		for range runs + 1 {
			states = append(states, state())
		}
		return testing.AllocsPerRun(runs, func() {
			if _, missing := apply.Run(states[0], events, applytest.ProcessedAt); missing != nil {
				t.Fatal("something is missing")
			}
			states = states[1:]
		})
	}
	few, many := allocs(visits(visitors, visitors)), allocs(visits(100*visitors, visitors))
	if few != many {
		t.Errorf("%d events: %.0f allocations, %d events: %.0f", visitors, few, 100*visitors, many)
	}
}

// What the mix allocates, an event, is bounded: it is half of what the fold costs. Most of it is what
// identifies and orders make: trees of attributes, lineage, texts of products.
func TestMixAllocatesLittle(t *testing.T) {
	const runs, size, limit = 10, 1000, 3.3
	events, state := mixed(t, size)
	var states []*apply.State
	var batches [][]apply.Event
	for range runs + 1 {
		states, batches = append(states, state()), append(batches, slices.Clone(events))
	}
	n := testing.AllocsPerRun(runs, func() {
		apply.KeysOf(batches[0])
		if _, missing := apply.Run(states[0], batches[0], applytest.ProcessedAt); missing != nil {
			t.Fatal("something is missing")
		}
		states, batches = states[1:], batches[1:]
	})
	if n > limit*size {
		t.Errorf("%.2f allocations for an event, at most %.1f", n/size, limit)
	}
}

func BenchmarkRun(b *testing.B) {
	const size = 1000
	b.Run("anonymous_pages", func(b *testing.B) {
		events, state := visits(size, size/4)
		run(b, events, state)
	})
	b.Run("default_mix", func(b *testing.B) {
		events, state := mixed(b, size)
		run(b, events, state)
	})
}

// mixed is a batch of a shop's traffic, and the state that a batch before has left.
func mixed(t testing.TB, size int) (events []apply.Event, state func() *apply.State) {
	before, events := mix(size)
	store := applytest.NewStore(nil)
	if _, err := store.Apply("0", before, applytest.ProcessedAt); err != nil {
		t.Fatal(err)
	}
	again := slices.Clone(events) // what is found in an event is kept with it
	keys := apply.KeysOf(again)
	_, missing := apply.Run(store.Load("0", keys, nil), again, applytest.ProcessedAt)
	return events, func() *apply.State { return store.Load("0", keys, missing) }
}

// run measures the whole of the pure work: which rows a batch needs, and the fold.
func run(b *testing.B, events []apply.Event, state func() *apply.State) {
	b.ReportAllocs()
	fresh := make([]apply.Event, len(events))
	for b.Loop() {
		b.StopTimer()
		copy(fresh, events)
		st := state()
		b.StartTimer()
		apply.KeysOf(fresh)
		if r, _ := apply.Run(st, fresh, applytest.ProcessedAt); r == nil {
			b.Fatal("something is missing")
		}
	}
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
}

// mix is two batches of a shop's traffic: of 100 events some 70 page views, 20 tracks (of which 3
// with an order) and 10 identifies, of which 2 reveal a device.
func mix(size int) (before, after []apply.Event) {
	events := make([]apply.Event, 2*size)
	for i := range events {
		at := start.Add(time.Duration(i) * time.Millisecond)
		visitor := strconv.Itoa(i * 7919 % (size / 3))
		e := apply.Event{Tenant: tenant, MessageID: "m" + strconv.Itoa(i), Type: event.Page, Payload: []byte(pagePayload), At: at, ReceivedAt: at}
		e.IDs.Anonymous = []event.Identifier{device("d" + visitor)}
		switch n := i % 100; {
		case n < 8:
			e.Type, e.Payload = event.Identify, fmt.Appendf(nil, `{"name":"Visitor %s","city":"Oslo","plan":"free","visits":%d}`, visitor, i)
			e.IDs.Verified = []event.Identifier{crm("u" + visitor)}
			e.IDs.Anonymous = nil
		case n < 10:
			e.Type, e.Payload = event.Identify, []byte(`{"name":"Somebody","tags":["a","b"]}`)
			e.IDs.Verified = []event.Identifier{crm("u" + visitor), mail(visitor + "@example.com")}
		case n < 13:
			e.Type, e.Name = event.Track, "Order Completed"
			e.Payload = fmt.Appendf(nil, `{"order_id":"o%d","total":129.90,"currency":"EUR","products":[{"product_id":"p%d","quantity":2,"price":19.99},{"product_id":"p2","quantity":1,"price":"89.92"}]}`, i, i%50)
		case n < 30:
			e.Type, e.Name = event.Track, "Product Viewed"
			e.Payload = fmt.Appendf(nil, `{"product_id":"p%d","price":19.99,"name":"Chair","category":"Furniture"}`, i%50)
		}
		events[i] = e
	}
	return events[:size], events[size:]
}
