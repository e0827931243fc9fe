package store

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
)

// megaStore has one profile with thousands of devices, and counts what it reads.
type megaStore struct {
	*Store
	read     atomic.Int64 // bytes from the server
	lane     *lane
	settings event.Settings
	devices  int
	messages int
}

const megaBatch = 500

// newMegaStore makes the profile with so many devices and so large attributes, by events.
func newMegaStore(tb testing.TB, devices, attributes int) *megaStore {
	tb.Helper()
	m := &megaStore{settings: event.DefaultSettings(), devices: devices}
	m.settings.Limits = map[string]int{event.KindAnonymous: 1_000_000}
	cfg := openPool(tb, newDSN(tb), 1).Config().Copy()
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &counted{c, &m.read}, err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	if m.Store, err = New(DefaultConfig(), pool); err != nil {
		tb.Fatal(err)
	}
	m.lane = claim(tb, m.Store, 0)
	m.apply(tb, []apply.Event{m.event(event.Identify, fmt.Appendf(nil, `{"about":%q}`, strings.Repeat("x", attributes)), m.boss())})
	for first := 0; first < devices; first += megaBatch {
		var events []apply.Event
		for n := first; n < min(first+megaBatch, devices); n++ {
			events = append(events, m.event(event.Page, nil, m.boss(), m.device(n)))
		}
		m.apply(tb, events)
	}
	return m
}

// counted is a connection that counts.
type counted struct {
	net.Conn
	read *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (m *megaStore) boss() event.Identifier {
	return applytest.ID(applytest.Lenient, event.KindCRM, "boss")
}

func (m *megaStore) device(n int) event.Identifier {
	return applytest.ID(applytest.Lenient, event.KindAnonymous, fmt.Sprintf("d%d", n%m.devices))
}

func (m *megaStore) event(typ event.Type, payload []byte, ids ...event.Identifier) apply.Event {
	m.messages++
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).Add(time.Duration(m.messages) * time.Millisecond)
	e := apply.Event{Tenant: applytest.Lenient, MessageID: fmt.Sprintf("m%d", m.messages), Type: typ, Payload: payload, At: at, ReceivedAt: at}
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

func (m *megaStore) apply(tb testing.TB, events []apply.Event) {
	tb.Helper()
	b := m.lane.batch(events)
	b.Settings = map[uuid.UUID]*event.Settings{applytest.Lenient: &m.settings}
	out, err := m.Apply(context.Background(), b)
	if err != nil || out.Applied != len(events) || len(out.Conflicts) > 0 {
		tb.Fatalf("%+v, %v", out, err)
	}
	if err := m.Published(context.Background(), b.Claim.Topic, b.Claim.Partition, b.NextOffset); err != nil {
		tb.Fatal(err)
	}
	m.lane.next = b.NextOffset
}

// megaTraffic is what may happen to the profile; prepare is what must have happened before. The visitors
// have nothing to do with it: they are what to compare it to.
var megaTraffic = []struct {
	name    string
	prepare func(m *megaStore, n int) apply.Event
	one     func(m *megaStore, n int) apply.Event
}{
	{name: "one_device", one: func(m *megaStore, _ int) apply.Event { return m.event(event.Page, nil, m.device(0)) }},
	{name: "all_devices", one: func(m *megaStore, n int) apply.Event { return m.event(event.Page, nil, m.device(n)) }},
	{name: "link", one: func(m *megaStore, _ int) apply.Event { return m.event(event.Page, nil, m.boss(), m.stranger(0)) }},
	{name: "collapse", prepare: func(m *megaStore, _ int) apply.Event { return m.event(event.Page, nil, m.stranger(0)) },
		one: func(m *megaStore, n int) apply.Event {
			return m.event(event.Page, nil, m.boss(), m.stranger(megaBatch))
		}},
	{name: "visitors", prepare: func(m *megaStore, _ int) apply.Event { return m.event(event.Page, nil, m.stranger(0)) },
		one: func(m *megaStore, _ int) apply.Event { return m.event(event.Page, nil, m.stranger(megaBatch)) }},
	{name: "order", one: func(m *megaStore, n int) apply.Event {
		return m.event(event.Track, fmt.Appendf(nil, `{"order_id":"o%d","total":"9.90"}`, n), m.device(0))
	}},
}

// stranger is a device nobody has seen, or that of an event so long ago.
func (m *megaStore) stranger(ago int) event.Identifier {
	return applytest.ID(applytest.Lenient, event.KindAnonymous, fmt.Sprintf("s%d", m.messages-ago))
}

// round applies one batch of a kind of traffic, and answers its time and what it read.
func (m *megaStore) round(tb testing.TB, kind int) (time.Duration, int64) {
	tb.Helper()
	x := megaTraffic[kind]
	events := func(one func(m *megaStore, n int) apply.Event) []apply.Event {
		all := make([]apply.Event, megaBatch)
		for n := range all {
			all[n] = one(m, n)
		}
		return all
	}
	if x.prepare != nil {
		m.apply(tb, events(x.prepare))
	}
	batch := events(x.one)
	begin, before := time.Now(), m.read.Load()
	m.apply(tb, batch)
	return time.Since(begin), m.read.Load() - before
}

// What a batch reads does not depend on how many identifiers its profile owns, but on those it names; and
// of a profile that many of them name, it reads the attributes once.
func TestMegaReadsNoMore(t *testing.T) {
	const attributes = 20_000
	one, all := newMegaStore(t, 1, attributes), newMegaStore(t, 10_000, attributes)
	for kind, x := range megaTraffic {
		one.round(t, kind) // prepares statements
		all.round(t, kind)
		_, few := one.round(t, kind)
		_, many := all.round(t, kind)
		t.Logf("%s: a batch of %d events reads %d bytes with one device, %d with 10 000", x.name, megaBatch, few, many)
		if x.name == "all_devices" {
			const row = 512 // an identifier, and of its owner all but the attributes
			few += megaBatch * row
		}
		if float64(many) > 1.5*float64(few) {
			t.Errorf("%s: a batch reads %d bytes on a profile of 10 000 devices, %d on one of one", x.name, many, few)
		}
	}
}

// BenchmarkMega is the cost of an event in batches of 500, by how many devices its profile owns. The best
// round counts: the machine may have other work.
func BenchmarkMega(b *testing.B) {
	for _, devices := range []int{1, 10, 100, 1_000, 10_000} {
		m := newMegaStore(b, devices, 1_000)
		for kind, x := range megaTraffic {
			b.Run(fmt.Sprintf("%s/devices=%d", x.name, devices), func(b *testing.B) {
				best, read := time.Hour, int64(0)
				for b.Loop() {
					took, bytes := m.round(b, kind)
					best, read = min(best, took), bytes
				}
				b.ReportMetric(float64(best.Microseconds())/megaBatch, "µs/event")
				b.ReportMetric(float64(read)/megaBatch, "read-B/event")
			})
		}
	}
}
