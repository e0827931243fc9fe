package apply_test

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// A mega-profile is what a kiosk, a test account or a leaked id makes: one profile with thousands of
// identifiers and most of a partition's events. An event on it must cost what any event costs.

// megaSizes are how many devices the profile owns.
var megaSizes = []int{1, 10, 100, 1_000, 10_000}

// mega is a profile with devices, and what a store loads of it: what the batch names, never all.
type mega struct {
	devices int
	boss    event.Identifier // what created the profile
	other   event.Identifier // what created an anchor that devices go to and come from
	shadows int              // profiles of a device each, that nobody has logged in on, with an order
	anchors int              // profiles of an email each, with a device they lost
}

func newMega(devices int) *mega {
	return &mega{devices: devices, boss: crm("boss"), other: crm("other")}
}

func (m *mega) device(n int) event.Identifier { return device("d" + strconv.Itoa(n%m.devices)) }

// state is what is loaded for the events.
func (m *mega) state(events []apply.Event) *apply.State {
	settings := event.DefaultSettings()
	settings.Limits = map[string]int{event.KindAnonymous: 1_000_000, event.KindEmail: 1_000_000}
	st := &apply.State{Settings: map[uuid.UUID]*event.Settings{tenant: &settings},
		Identifiers: map[uuid.UUID]*identity.Identifier{}, Profiles: map[uuid.UUID]*identity.Profile{}, Orders: map[apply.OrderKey]*event.OrderState{}}
	profile := func(id uuid.UUID, kind identity.Kind, owned ...identity.Count) *identity.Profile {
		p := &identity.Profile{Tenant: tenant, ID: id, Kind: kind, FirstSeen: start, LastSeen: start, CreatedAt: start, Version: 1, Owned: owned}
		st.Profiles[id] = p
		return p
	}
	own := func(id event.Identifier, owner uuid.UUID) {
		st.Identifiers[id.Node] = &identity.Identifier{Tenant: tenant, Node: id.Node, Kind: id.Kind, Value: id.Value, ProfileID: owner, Version: 1}
	}
	profile(m.boss.Node, identity.Anchor, identity.Count{Kind: event.KindAnonymous, N: m.devices}, identity.Count{Kind: event.KindCRM, N: 1})
	profile(m.other.Node, identity.Anchor, identity.Count{Kind: event.KindCRM, N: 1})
	own(m.boss, m.boss.Node)
	own(m.other, m.other.Node)
	for n := range m.shadows {
		id := device("s" + strconv.Itoa(n))
		profile(id.Node, identity.Shadow, identity.Count{Kind: event.KindAnonymous, N: 1}).Orders = 1
		own(id, id.Node)
		o := &event.OrderState{OrderID: id.Value, ProfileID: id.Node, Version: 1}
		st.Orders[apply.OrderKey{Tenant: tenant, ID: o.OrderID}] = o
	}
	for n := range m.anchors {
		id, lost := mail("e"+strconv.Itoa(n)), device("lost"+strconv.Itoa(n))
		p := profile(id.Node, identity.Anchor, identity.Count{Kind: event.KindEmail, N: 1})
		p.Spans, p.CreatedAt = 1, start.Add(time.Second)
		own(id, id.Node)
		st.Spans = append(st.Spans, &identity.Span{Tenant: tenant, Node: lost.Node, Kind: lost.Kind, Value: lost.Value, ProfileID: id.Node, Version: 1})
	}
	named := map[uuid.UUID]bool{}
	for i := range events {
		for _, id := range events[i].IDs.Anonymous {
			named[id.Node] = true
		}
	}
	for n := range m.devices {
		if id := m.device(n); named[id.Node] {
			own(id, m.boss.Node)
		}
	}
	return st
}

// megaTraffic is what may happen to the profile, as the n-th event of a batch.
var megaTraffic = []struct {
	name string
	one  func(m *mega, n int) apply.Event
}{
	{"one_device", func(m *mega, _ int) apply.Event { return megaEvent(event.Page, nil, m.device(0)) }},
	{"all_devices", func(m *mega, n int) apply.Event { return megaEvent(event.Page, nil, m.device(n)) }},
	{"identify", func(m *mega, n int) apply.Event {
		return megaEvent(event.Identify, fmt.Appendf(nil, `{"city":"Oslo","visits":%d}`, n), m.boss)
	}},
	{"link", func(m *mega, n int) apply.Event {
		return megaEvent(event.Page, nil, m.boss, device("new"+strconv.Itoa(n)))
	}},
	{"collapse", func(m *mega, n int) apply.Event {
		return megaEvent(event.Page, nil, m.boss, device("s"+strconv.Itoa(n)))
	}},
	{"merge", func(m *mega, n int) apply.Event {
		return megaEvent(event.Page, nil, m.boss, mail("e"+strconv.Itoa(n)))
	}},
	{"relink", func(m *mega, n int) apply.Event {
		to := m.other // away, and back when the devices have all gone
		if n/m.devices%2 == 1 {
			to = m.boss
		}
		return megaEvent(event.Page, nil, to, m.device(n))
	}},
	{"order", func(m *mega, n int) apply.Event {
		return megaEvent(event.Track, fmt.Appendf(nil, `{"order_id":"o%d","total":"9.90","products":[{"sku":"p","quantity":1}]}`, n), m.device(0))
	}},
}

func megaEvent(typ event.Type, payload []byte, ids ...event.Identifier) apply.Event {
	e := apply.Event{Tenant: tenant, Type: typ, Payload: payload}
	if payload == nil {
		e.Payload = []byte(pagePayload)
	}
	if typ == event.Track {
		e.Name = "Order Completed"
	}
	for _, id := range ids {
		if id.Kind == event.KindAnonymous {
			e.IDs.Anonymous = append(e.IDs.Anonymous, id)
		} else {
			e.IDs.Verified = append(e.IDs.Verified, id)
		}
	}
	return e
}

// events is a batch of one kind of traffic; what it meets is in the state.
func (m *mega) events(n int, one func(*mega, int) apply.Event) []apply.Event {
	events := make([]apply.Event, n)
	m.shadows, m.anchors = n, n
	for i := range events {
		events[i] = one(m, i)
		events[i].MessageID = "m" + strconv.Itoa(i)
		events[i].At = start.Add(time.Duration(i) * time.Millisecond)
		events[i].ReceivedAt = events[i].At
	}
	return events
}

// BenchmarkMegaProfile is the cost of an event, by how many devices the profile owns.
func BenchmarkMegaProfile(b *testing.B) {
	const size = 1000
	for _, x := range megaTraffic {
		for _, devices := range megaSizes {
			b.Run(fmt.Sprintf("%s/devices=%d", x.name, devices), func(b *testing.B) {
				m := newMega(devices)
				runMega(b, m, m.events(size, x.one))
			})
		}
	}
}

// BenchmarkMegaBatch is the cost of an event of one batch on one key, by the batch's size; the profile
// owns 10 000 devices.
func BenchmarkMegaBatch(b *testing.B) {
	for _, x := range megaTraffic {
		for _, size := range []int{100, 1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/events=%d", x.name, size), func(b *testing.B) {
				m := newMega(10_000)
				runMega(b, m, m.events(size, x.one))
			})
		}
	}
}

// runMega reports the processor time of the best run: it is about the algorithm, and the machine may
// have other work.
func runMega(b *testing.B, m *mega, events []apply.Event) {
	b.ReportAllocs()
	fresh := make([]apply.Event, len(events))
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		b.StopTimer()
		copy(fresh, events)
		st := m.state(events)
		runtime.GC() // what the state took is not the fold's
		before := processorTime(b)
		b.StartTimer()
		apply.KeysOf(fresh)
		if r, _ := apply.Run(st, fresh, applytest.ProcessedAt); r == nil {
			b.Fatal("something is missing")
		}
		best = min(best, processorTime(b)-before)
	}
	b.ReportMetric(float64(best.Nanoseconds())/float64(len(events)), "cpu-ns/event")
}

// processorTime is what this process has taken so far, its garbage collector included.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What an event allocates depends neither on how many identifiers its profile owns nor on how many
// events are in the batch.
func TestMegaAllocatesNoMore(t *testing.T) {
	const most = 1.5
	for _, x := range megaTraffic {
		one, all := megaCost(newMega(1), 1000, x.one), megaCost(newMega(10_000), 1000, x.one)
		long := megaCost(newMega(10_000), 20_000, x.one)
		t.Logf("%s: per event %v with one device, %v with 10 000, %v in a long batch", x.name, one, all, long)
		if all.count > most*one.count+0.1 || all.bytes > most*one.bytes+64 {
			t.Errorf("%s: an event takes %v on a profile of 10 000 devices, %v on one of one", x.name, all, one)
		}
		// A slice that grows leaves up to as much again behind it.
		if long.count > most*all.count+0.1 || long.bytes > 2*most*all.bytes+64 {
			t.Errorf("%s: an event takes %v in a batch of 20 000, %v in one of 1 000", x.name, long, all)
		}
	}
}

// cost is what one event allocates.
type cost struct{ count, bytes float64 }

func (c cost) String() string { return fmt.Sprintf("%.2f allocations of %.0f bytes", c.count, c.bytes) }

func megaCost(m *mega, size int, one func(*mega, int) apply.Event) cost {
	events := m.events(size, one)
	st := m.state(events)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	apply.KeysOf(events)
	r, _ := apply.Run(st, events, applytest.ProcessedAt)
	runtime.ReadMemStats(&after)
	if r == nil {
		panic("something is missing")
	}
	return cost{float64(after.Mallocs-before.Mallocs) / float64(size), float64(after.TotalAlloc-before.TotalAlloc) / float64(size)}
}
