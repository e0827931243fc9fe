package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
)

// shop makes the events of a web shop: half of the visits are new devices, the others come back; one
// event in twenty is a login that collapses its device into a customer, one in ten is an order's.
type shop struct {
	tenant uuid.UUID
	rng    *rand.Rand
	n      int
	now    time.Time
	known  int // devices seen
	prefix string
}

func newShop(seed uint64) *shop {
	return &shop{tenant: uuid.New(), rng: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), prefix: strconv.FormatUint(seed, 36)}
}

func (s *shop) events(n int) []apply.Event {
	events := make([]apply.Event, n)
	for i := range events {
		events[i] = s.event()
	}
	return events
}

func (s *shop) event() apply.Event {
	s.n++
	s.now = s.now.Add(time.Millisecond)
	device := s.known
	if s.known > 0 && s.rng.IntN(2) == 0 {
		device = s.rng.IntN(s.known)
	} else {
		s.known++
	}
	e := apply.Event{Tenant: s.tenant, MessageID: fmt.Sprintf("%s-%d", s.prefix, s.n), Type: event.Page, At: s.now, ReceivedAt: s.now,
		Payload: []byte(`{"url":"https://shop.example/p/1","title":"A product","referrer":"https://search.example/"}`)}
	anonymous := s.prefix + "-device-" + strconv.Itoa(device)
	e.IDs.Anonymous = []event.Identifier{s.id(event.KindAnonymous, anonymous)}
	switch s.rng.IntN(20) {
	case 0:
		email := fmt.Sprintf("%s-%d@shop.example", s.prefix, device/2)
		e.Type, e.IDs.Verified = event.Identify, []event.Identifier{s.id(event.KindEmail, email)}
		e.Payload = fmt.Appendf(nil, `{"email":%q,"name":"Ann Example","city":"Miami","plan":"plus","visits":%d}`, email, s.n)
	case 1, 2:
		e.Type, e.Name = event.Track, "Order Completed"
		e.Payload = fmt.Appendf(nil, `{"order_id":"%s-%d","total":"%d.90","currency":"EUR","products":[{"product_id":"p%d","quantity":1,"price":19.90}]}`,
			s.prefix, s.n, s.n%100, s.rng.IntN(500))
	case 3, 4, 5:
		e.Type, e.Name = event.Track, "Added to Cart"
		e.Payload = fmt.Appendf(nil, `{"product_id":"p%d","price":19.90}`, s.rng.IntN(500))
	}
	return e
}

func (s *shop) id(kind, value string) event.Identifier {
	return event.Identifier{Kind: kind, Value: value, Node: event.NodeID(s.tenant, kind, value)}
}

func BenchmarkApply(b *testing.B) {
	for _, x := range []struct{ workers, together, batch int }{{1, 0, 100}, {1, 0, 500}, {1, 0, 2000}, {4, 0, 500}, {2, 2, 500}} {
		b.Run(fmt.Sprintf("workers=%d/together=%d/batch=%d", x.workers, max(x.together, 1), x.batch), func(b *testing.B) {
			benchmarkApply(b, x.workers, x.together, x.batch)
		})
	}
}

// benchmarkApply counts one event per op.
func benchmarkApply(b *testing.B, workers, together, size int) {
	s := newStore(b, newDSN(b), func(c *Config) { c.Concurrency, c.Attempts = together, 50 })
	settings := event.DefaultSettings()
	var left, retries atomic.Int64
	left.Store(int64(b.N))
	lanes := make([]*lane, workers)
	shops := make([]*shop, workers)
	for i := range lanes {
		lanes[i], shops[i] = claim(b, s, int32(i)), newShop(uint64(i+1))
		work(b, s, lanes[i], shops[i], 2000, &settings) // some history, and prepared statements
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range lanes {
		wg.Go(func() {
			for left.Add(-int64(size)) > -int64(size) {
				retries.Add(int64(work(b, s, lanes[i], shops[i], size, &settings)))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(retries.Load())/float64(max(b.N/size, 1)), "retries/batch")
}

func work(b *testing.B, s *Store, l *lane, shop *shop, n int, settings *event.Settings) int {
	batch := &Batch{Claim: l.claim, Offset: l.next, NextOffset: l.next + int64(n), Events: shop.events(n),
		Settings: map[uuid.UUID]*event.Settings{shop.tenant: settings}}
	out, err := s.Apply(context.Background(), batch)
	if err != nil {
		b.Error(err)
		return 0
	}
	if err := s.Published(context.Background(), l.claim.Topic, l.claim.Partition, batch.NextOffset); err != nil {
		b.Error(err)
	}
	l.next = batch.NextOffset
	return out.Retries
}
