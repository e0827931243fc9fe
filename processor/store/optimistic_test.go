package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

// pair is two stores, as two processes have them, on one database: what one remembers goes stale by
// what the other does. The same log goes into memory.
type pair struct {
	t      *testing.T
	stores [2]*Store
	lanes  [2]*lane
	memory *applytest.Store
	n      int
}

func newPair(t *testing.T) *pair {
	t.Helper()
	dsn := newDSN(t)
	return pairOf(t, newStore(t, dsn), newStore(t, dsn))
}

func pairOf(t *testing.T, stores ...*Store) *pair {
	t.Helper()
	p := &pair{t: t, stores: [2]*Store(stores), memory: applytest.NewStore(applytest.Settings())}
	for i, s := range p.stores {
		s.now = func() time.Time { return applytest.ProcessedAt }
		p.lanes[i] = claim(t, s, int32(i))
	}
	return p
}

// page is a page view by a device and, if there is a name, by whoever it names.
func (p *pair) page(device, email string) apply.Event {
	p.n++
	at := time.Date(2026, 11, 25, 10, 0, 0, 1000*p.n, time.UTC)
	e := apply.Event{Tenant: applytest.Lenient, MessageID: fmt.Sprint("m", p.n), Type: event.Page, At: at, ReceivedAt: at}
	id := func(kind, value string) []event.Identifier {
		return []event.Identifier{{Kind: kind, Value: value, Node: event.NodeID(applytest.Lenient, kind, value)}}
	}
	if device != "" {
		e.IDs.Anonymous = id(event.KindAnonymous, device)
	}
	if email != "" {
		e.IDs.Verified = id(event.KindEmail, email)
	}
	return e
}

// put has store i process events as one batch, and memory too.
func (p *pair) put(i int, events []apply.Event) (retries int) {
	b := p.lanes[i].batch(events)
	out, err := p.stores[i].Apply(context.Background(), b)
	if err != nil {
		p.t.Error(err) // not Fatal: a proxy's goroutine calls this
	}
	p.lanes[i].next = b.NextOffset
	p.remember(i, events)
	return out.Retries
}

func (p *pair) remember(i int, events []apply.Event) {
	if _, err := p.memory.Apply(fmt.Sprint(i), events, applytest.ProcessedAt); err != nil {
		p.t.Error(err)
	}
}

// apply puts a batch and compares.
func (p *pair) apply(i int, events ...apply.Event) (retries int) {
	p.t.Helper()
	retries = p.put(i, events)
	p.same(i)
	return retries
}

func (p *pair) same(i int) {
	p.t.Helper()
	if diff := wantedDiff(p.memory, dumpSQL(p.t, p.stores[i])); diff != "" {
		p.t.Fatalf("memory (-) and the state store (+) differ:\n%s", diff)
	}
}

// What a process remembers of a device and is no longer so is found out, and costs one more attempt.
func TestStaleMemory(t *testing.T) {
	for name, x := range map[string]struct {
		meanwhile func(p *pair) apply.Event
		again     func(p *pair) apply.Event
	}{
		"the device sent through another partition": {
			func(p *pair) apply.Event { return p.page("d", "") },
			func(p *pair) apply.Event { return p.page("d", "") }},
		"it collapsed": {
			func(p *pair) apply.Event { return p.page("d", "ann@example.com") },
			func(p *pair) apply.Event { return p.page("d", "") }},
		"it collapsed into somebody else": {
			func(p *pair) apply.Event { return p.page("d", "ann@example.com") },
			func(p *pair) apply.Event { return p.page("d", "bob@example.com") }},
		"it was merged by an alias": {
			func(p *pair) apply.Event {
				e := p.page("d", "")
				e.Type, e.IDs.Anonymous = event.Alias, append(p.page("older", "").IDs.Anonymous, e.IDs.Anonymous...)
				return e
			},
			func(p *pair) apply.Event { return p.page("d", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.apply(0, p.page("older", ""))
			p.apply(0, p.page("d", ""))
			p.apply(1, p.page("other", ""))
			if n := p.apply(0, p.page("d", "")); n != 0 {
				t.Errorf("%d retries although nobody else was there", n)
			}
			p.apply(1, x.meanwhile(p))
			if n := p.apply(0, x.again(p)); n != 1 {
				t.Errorf("%d retries by what was stale", n)
			}
			if n := p.apply(0, p.page("d", "")); n != 0 {
				t.Errorf("%d retries after it was found out", n)
			}
		})
	}
}

// newRacing is a pair whose first store is behind a proxy.
func newRacing(t *testing.T) (*pair, *faultproxy.Proxy) {
	t.Helper()
	dsn := newDSN(t)
	proxy, err := faultproxy.Start(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return pairOf(t, newStore(t, proxy.DSN()), newStore(t, dsn)), proxy
}

// race has the first store process mine as one batch and the second others while the first has read and
// not yet written: the proxy holds its BEGIN meanwhile. A batch that is read with locks begins before it
// reads; others then come after it. The state must be that of one after the other, to the byte.
func (p *pair) race(proxy *faultproxy.Proxy, mine, others []apply.Event) (between bool, retries int) {
	p.t.Helper()
	b := p.lanes[0].batch(mine)
	var once sync.Once
	proxy.Set(func(statement string) faultproxy.Fault {
		if strings.HasPrefix(statement, "begin") {
			once.Do(func() {
				if _, between = p.stores[0].memory.standing(b); between {
					p.put(1, others)
				}
			})
		}
		return faultproxy.Fault{}
	})
	out, err := p.stores[0].Apply(p.t.Context(), b)
	if err != nil {
		p.t.Fatal(err)
	}
	p.lanes[0].next = b.NextOffset
	p.remember(0, mine)
	if !between {
		p.put(1, others)
	}
	p.same(1)
	return between, out.Retries
}

// What another process does between the reading and the writing of a batch is found out, whatever it
// is.
func TestAnotherBatchInBetween(t *testing.T) {
	batches, stale := 0, 0
	for seed := range 12 {
		p, proxy := newRacing(t)
		var logs [2][]apply.Event
		for n, e := range applytest.Logs(160).Example(seed) {
			logs[n%2] = append(logs[n%2], e.Event)
		}
		size := 1 + seed%4
		for at := 0; at+size <= len(logs[0]) && at+size <= len(logs[1]); at += size {
			if between, retries := p.race(proxy, logs[0][at:at+size], logs[1][at:at+size]); between {
				batches++
				stale += min(retries, 1)
			}
		}
	}
	if stale == 0 || stale == batches {
		t.Errorf("of %d batches %d were found stale: the logs test too little", batches, stale)
	}
	t.Logf("of %d batches %d were found stale", batches, stale)
}

// An identifier that was not there when a batch was read, and is when it is written, is not taken for
// an older one of the batch's own, though the batch has changed its owner since it made it.
func TestIdentifierMadeInBetween(t *testing.T) {
	p, proxy := newRacing(t)
	p.apply(0, p.page("", "ann@example.com"), p.page("", "bob@example.com"))
	p.apply(1, p.page("other", ""))
	mine := []apply.Event{p.page("pad", "ann@example.com"), p.page("pad", "bob@example.com")}
	if between, retries := p.race(proxy, mine, []apply.Event{p.page("pad", "")}); !between || retries != 1 {
		t.Errorf("in between: %v; %d retries", between, retries)
	}
}

// A message that was counted elsewhere does not count again, whatever this process remembers.
func TestMessageCountedElsewhere(t *testing.T) {
	p := newPair(t)
	p.apply(0, p.page("a", ""))
	p.apply(1, p.page("b", ""))
	e := p.page("d", "")
	p.apply(0, e)
	if n := p.apply(1, e, p.page("d", "")); n != 1 {
		t.Errorf("%d retries", n)
	}
	if n := p.apply(0, e, p.page("d", "")); n != 1 { // d has changed; e itself is remembered
		t.Errorf("%d retries", n)
	}
}

// Where a message comes again that this process does not remember, more of them cost no attempt: the
// store is asked first, for a while.
func TestRepetitionsMakeWary(t *testing.T) {
	p := newPair(t)
	p.apply(0, p.page("a", ""))
	p.apply(1, p.page("b", ""))
	var again []apply.Event
	for range 5 {
		again = append(again, p.page("d", ""))
	}
	p.apply(0, again...)
	for i, want := range []int{1, 0, 0} {
		if n := p.apply(1, again[i], p.page("d", "")); n != want {
			t.Errorf("repetition %d: %d retries, not %d", i, n, want)
		}
	}
	if n := p.apply(1, again[3]); n != 0 { // nothing is left of the batch
		t.Errorf("%d retries", n)
	}
	for range waryBatches {
		p.put(1, []apply.Event{p.page("d", "")})
	}
	if n := p.apply(1, again[4], p.page("d", "")); n != 1 {
		t.Errorf("%d retries after there was none for a while", n)
	}
}

// A batch that reads what it does not write is not done optimistically: nothing would validate it.
func TestRefusedIsNotOptimistic(t *testing.T) {
	f := newFaulty(t)
	settings := event.DefaultSettings()
	settings.Limits = map[string]int{event.KindEmail: 1, event.KindCRM: 1}
	tenant := f.shop.tenant
	id := func(kind, value string) event.Identifier {
		return event.Identifier{Kind: kind, Value: value, Node: event.NodeID(tenant, kind, value)}
	}
	n := 0
	send := func(ids ...event.Identifier) (locked bool) {
		t.Helper()
		n++
		at := time.Date(2026, 11, 25, 10, 0, n, 0, time.UTC)
		b := f.lane.batch([]apply.Event{{Tenant: tenant, MessageID: fmt.Sprint("m", n), Type: event.Page, At: at, ReceivedAt: at, IDs: event.Identifiers{Verified: ids}}})
		b.Settings = map[uuid.UUID]*event.Settings{tenant: &settings}
		var mu sync.Mutex
		f.proxy.Set(func(statement string) faultproxy.Fault {
			mu.Lock()
			defer mu.Unlock()
			locked = locked || strings.HasPrefix(statement, "select next_offset, epoch, last")
			return faultproxy.Fault{}
		})
		if _, err := f.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		f.lane.next = b.NextOffset
		return locked
	}
	if !send(id(event.KindCRM, "u1")) {
		t.Error("the first batch cannot know where the partition stands")
	}
	if send(id(event.KindCRM, "u1"), id(event.KindEmail, "e1")) {
		t.Error("a link was not optimistic")
	}
	if !send(id(event.KindCRM, "u1"), id(event.KindEmail, "e2")) {
		t.Error("a refused link was optimistic: that e2 has no owner was not validated")
	}
	if !send(id(event.KindCRM, "u2"), id(event.KindEmail, "e1")) {
		t.Error("a refused merge was optimistic: that e1 is u1's was not validated")
	}
}

// Two processes work on the same few people at the same time, each in its own partition: every event
// counts once, every identifier has one live owner, and the lineage adds up. This is where a missing
// validation would show.
func TestTwoProcessesOnTheSamePeople(t *testing.T) {
	const batches, size, people = 60, 12, 9
	dsn := newDSN(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	retries := 0
	var stores [2]*Store
	for i := range stores { // both, before one begins: it could be over before the other is there
		stores[i] = newStore(t, dsn, func(c *Config) { c.Attempts = 100 })
	}
	for i, s := range stores {
		wg.Go(func() {
			l := claim(t, s, int32(i))
			p := &pair{t: t, n: i * 1_000_000}
			for n := range batches {
				var events []apply.Event
				for k := range size {
					who := (n*7 + k*5 + i*3) % people
					e := p.page(fmt.Sprint("device-", (n+k)%people), "")
					switch k % 4 {
					case 1:
						e = p.page(fmt.Sprint("device-", who), fmt.Sprint("p", who, "@example.com"))
					case 2:
						e = p.page("", fmt.Sprint("p", who, "@example.com"))
						e.Type, e.Name = event.Track, "Order Completed"
						e.Payload = fmt.Appendf(nil, `{"order_id":"o%d","total":1,"products":[{"product_id":"p%d"}]}`, who, (n+k)%people)
					}
					events = append(events, e)
				}
				b := l.batch(events)
				out, err := s.Apply(context.Background(), b)
				if err != nil {
					t.Error(err)
					return
				}
				l.next = b.NextOffset
				mu.Lock()
				retries += out.Retries
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	state := dumpSQL(t, newStore(t, dsn))
	for i := range 2 * batches * size {
		state.Saw(applytest.Lenient, fmt.Sprint(i)) // so many they were
	}
	if err := state.Check(); err != nil {
		t.Error(err)
	}
	t.Logf("%d batches were tried again", retries)
	if retries == 0 {
		t.Error("they never met: the test tests nothing")
	}
}
