package store

import (
	"context"
	"errors"
	"math/rand/v2"
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

// faulty is a store behind a proxy that makes faults, and the same log in memory.
type faulty struct {
	*Store
	proxy  *faultproxy.Proxy
	direct *Store
	memory *applytest.Store
	lane   *lane
	shop   *shop
}

func newFaulty(t *testing.T, change ...func(*Config)) *faulty {
	t.Helper()
	dsn := newDSN(t)
	proxy, err := faultproxy.Start(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	f := &faulty{Store: newStore(t, proxy.DSN(), change...), direct: newStore(t, dsn), proxy: proxy, shop: newShop(1), memory: applytest.NewStore(nil)}
	f.shop.tenant = applytest.Lenient
	for _, s := range []*Store{f.Store, f.direct} {
		s.now = func() time.Time { return applytest.ProcessedAt }
	}
	f.lane = claim(t, f.direct, 0)
	return f
}

// next is a batch that memory has applied; the store is to.
func (f *faulty) next(t *testing.T, n int) *Batch {
	t.Helper()
	b := f.lane.batch(f.shop.events(n))
	if _, err := f.memory.Apply("0", b.Events, applytest.ProcessedAt); err != nil {
		t.Fatal(err)
	}
	return b
}

// done checks that everything arrived exactly once: rows, outbox and offset.
func (f *faulty) done(t *testing.T) {
	t.Helper()
	if diff := wantedDiff(f.memory, dumpSQL(t, f.direct)); diff != "" {
		t.Fatalf("memory (-) and the state store (+) differ:\n%s", diff)
	}
	_, next, err := f.direct.Claim(context.Background(), f.lane.claim.Topic, f.lane.claim.Partition, "check")
	if err != nil || next != f.lane.next {
		t.Errorf("the offset is %d, not %d: %v", next, f.lane.next, err)
	}
	var upTo int64
	for {
		left, err := f.direct.Unpublished(context.Background(), f.lane.claim.Topic, f.lane.claim.Partition, upTo)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		upTo = left[len(left)-1].Offset
	}
	if upTo != f.lane.next {
		t.Errorf("the outbox ends at %d, not at %d", upTo, f.lane.next)
	}
}

// The statements of a batch by how they begin, of one that is read with locks and of one that is not.
var statementsOfABatch = map[string][]string{
	"locked": {"begin", "select next_offset, epoch, last_created_at", "insert into message_ids", "select q.tenant_id, q.node_id",
		"insert into profiles", "insert into identifiers", "insert into outbox", "update processor_offsets", "commit"},
	"optimistic": {"select q.tenant_id, q.node_id", "begin", "insert into message_ids",
		"insert into profiles", "insert into identifiers", "insert into outbox", "update processor_offsets", "commit"},
}

// anywhere runs a batch for every statement of either kind.
func anywhere(t *testing.T, test func(t *testing.T, f *faulty, b *Batch, statement string)) {
	for name, statements := range statementsOfABatch {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			b := f.next(t, 20) // warms up
			if _, err := f.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			f.lane.next = b.NextOffset
			for _, statement := range statements {
				if name == "locked" {
					f.memory0()
				}
				b := f.next(t, 5)
				if _, warm := f.Store.memory.standing(b); warm != (name == "optimistic") {
					t.Fatalf("the batch for %q is warm: %v", statement, warm)
				}
				test(t, f, b, statement)
				f.lane.next = b.NextOffset
			}
			f.done(t)
		})
	}
}

// memory0 is how a process begins.
func (f *faulty) memory0() { f.Store.memory = newMemory(f.cfg.SeenFor) }

// A transaction that must start again does so, wherever it is told, and counts once.
func TestRetriesAnywhere(t *testing.T) {
	for _, code := range []string{"40001", "40P01"} {
		anywhere(t, func(t *testing.T, f *faulty, b *Batch, statement string) {
			f.proxy.Set(faultproxy.Once(1, statement, faultproxy.Fault{Action: faultproxy.Refuse, Code: code}))
			before := f.proxy.Faults()
			out, err := f.Apply(t.Context(), b)
			if err != nil || out.Retries != 1 || out.Applied != 5 || f.proxy.Faults() != before+1 {
				t.Fatalf("%s at %q: %d retries, %d applied, %v", code, statement, out.Retries, out.Applied, err)
			}
		})
	}
}

// A connection that is cut before the commit has done nothing, and says so.
func TestCutAnywhere(t *testing.T) {
	anywhere(t, func(t *testing.T, f *faulty, b *Batch, statement string) {
		f.proxy.Set(faultproxy.Once(1, statement, faultproxy.Fault{Action: faultproxy.CutBefore}))
		_, err := f.Apply(t.Context(), b)
		if err == nil || Classify(err) != Retry {
			t.Fatalf("cut at %q: %v is %v", statement, err, Classify(err))
		}
		if out, err := f.Apply(t.Context(), b); err != nil || out.Applied != 5 || out.Landed {
			t.Fatalf("after a cut at %q: %+v, %v", statement, out, err)
		}
	})
}

// A commit that nobody acknowledged counts once, whether it happened or not.
func TestCase_58_commit_acknowledged_by_nobody(t *testing.T) {
	for name, x := range map[string]struct {
		fault    faultproxy.Fault
		happened bool
	}{
		"said so, happened":     {faultproxy.Ambiguous(true), true},
		"said so, not happened": {faultproxy.Ambiguous(false), false},
		"cut after":             {faultproxy.Fault{Action: faultproxy.CutAfter}, true},
		"cut before":            {faultproxy.Fault{Action: faultproxy.CutBefore}, false},
		"shut down, not done":   {faultproxy.Fault{Action: faultproxy.Refuse, Code: "57P01"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaulty(t)
			b := f.next(t, 20)
			f.proxy.Set(faultproxy.Once(1, "commit", x.fault))
			out, err := f.Apply(t.Context(), b)
			if x.happened != (err == nil) {
				t.Fatalf("%+v, %v", out, err)
			}
			if err != nil {
				if Classify(err) != Retry {
					t.Errorf("%v is %v", err, Classify(err))
				}
				out, err = f.Apply(t.Context(), b)
			}
			if err != nil || out.Applied != 20 || len(out.Records) == 0 {
				t.Errorf("%+v, %v", out, err)
			}
			f.lane.next = b.NextOffset
			f.done(t)
		})
	}
}

// A batch that is delivered again, cut otherwise, in one batch and in several, changes nothing.
func TestCase_57_delivered_again_with_other_cuts(t *testing.T) {
	f := newFaulty(t)
	b := f.next(t, 20)
	apply := func(from, to, counts int) {
		t.Helper()
		again := f.lane.batch(b.Events[from:to])
		out, err := f.Apply(t.Context(), again)
		if err != nil || out.Applied != counts {
			t.Fatalf("events %d to %d: %+v, %v", from, to, out, err)
		}
		f.lane.next = again.NextOffset
	}
	apply(0, 13, 13)
	apply(5, 20, 7)
	apply(0, 20, 0)
	for i := range b.Events {
		apply(i, i+1, 0)
	}
	if diff := wantedDiff(f.memory, dumpSQL(t, f.direct)); diff != "" {
		t.Errorf("memory (-) and the state store (+) differ:\n%s", diff)
	}
}

// The store cannot be asked what became of a commit; when it can be, the batch turns out to be there.
func TestCommitFoundLater(t *testing.T) {
	f := newFaulty(t, func(c *Config) { c.Recheck = 50 * time.Millisecond })
	b := f.next(t, 20)
	f.proxy.Set(func(statement string) faultproxy.Fault {
		if statement == "commit" {
			return faultproxy.Fault{Action: faultproxy.CutAfter}
		}
		if strings.HasPrefix(statement, "select next_offset, epoch from") {
			return faultproxy.Fault{Action: faultproxy.CutBefore}
		}
		return faultproxy.Fault{}
	})
	if _, err := f.Apply(t.Context(), b); !errors.Is(err, errUncertain) || Classify(err) != Retry {
		t.Fatal(err)
	}
	f.proxy.Set(func(string) faultproxy.Fault { return faultproxy.Fault{} })
	if out, err := f.Apply(t.Context(), b); err != nil || !out.Landed {
		t.Fatalf("%+v, %v", out, err)
	}
	f.lane.next = b.NextOffset
	f.done(t)
}

// A zombie's batch is dropped whole.
func TestCase_59_zombie(t *testing.T) {
	f := newFaulty(t)
	b := f.next(t, 20)
	zombie := *b
	f.lane = claim(t, f.direct, 0) // somebody else
	if _, err := f.Apply(t.Context(), &zombie); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	b.Claim = f.lane.claim
	if _, err := f.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	f.lane.next = b.NextOffset
	again := *b
	again.Events, again.NextOffset = f.shop.events(30), b.NextOffset+10
	if _, err := f.Apply(t.Context(), &again); !errors.Is(err, ErrFenced) {
		t.Errorf("a batch that begins before the offset row: %v", err)
	}
	f.done(t)
}

// Somebody claims the partition while a batch is between loading and writing: one of them waits, and
// what is written and where the new owner begins fit together.
func TestClaimDuringABatch(t *testing.T) {
	f := newFaulty(t)
	b := f.next(t, 20)
	claimed := make(chan int64, 1)
	var begin sync.Once
	f.proxy.Set(func(statement string) faultproxy.Fault {
		if statement[:6] == "insert" {
			begin.Do(func() {
				go func() {
					_, next, err := f.direct.Claim(context.Background(), f.lane.claim.Topic, 0, "other")
					if err != nil {
						next = -1
					}
					claimed <- next
				}()
			})
		}
		return faultproxy.Fault{}
	})
	_, err := f.Apply(t.Context(), b)
	next := <-claimed
	switch {
	case err == nil && next == b.NextOffset:
		f.lane.next = next
		f.done(t)
	case errors.Is(err, ErrFenced) && next == b.Offset:
		if n := len(dumpSQL(t, f.direct).Profiles); n != 0 {
			t.Errorf("a fenced batch left %d profiles", n)
		}
	default:
		t.Errorf("the batch: %v; the claim: %d", err, next)
	}
}

// The store is away for a while: nothing partial, and the same batch goes through later.
func TestCase_60_store_down(t *testing.T) {
	f := newFaulty(t)
	b := f.next(t, 20)
	f.proxy.Down()
	for range 3 {
		if _, err := f.Apply(t.Context(), b); Classify(err) != Retry {
			t.Fatalf("%v is %v", err, Classify(err))
		}
	}
	f.proxy.Up()
	if _, err := f.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	f.lane.next = b.NextOffset
	f.done(t)
}

// Everything goes wrong all the time, and every event counts once. (processor/chaos is the campaign
// against the whole role.)
func TestChaos(t *testing.T) {
	f := newFaulty(t)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(7, 7))
	f.proxy.Set(func(statement string) faultproxy.Fault {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(40) > 0 || statement == "rollback" {
			return faultproxy.Fault{}
		}
		faults := []faultproxy.Fault{faultproxy.Retry(), faultproxy.Retry(), {Action: faultproxy.CutBefore}}
		if statement == "commit" {
			faults = append(faults, faultproxy.Ambiguous(true), faultproxy.Ambiguous(false), faultproxy.Fault{Action: faultproxy.CutAfter})
		}
		return faults[rng.IntN(len(faults))]
	})
	for range 150 {
		b := f.next(t, 1+rng.IntN(10))
		for attempt := 0; ; attempt++ {
			_, err := f.Apply(t.Context(), b)
			if err == nil {
				break
			}
			if Classify(err) != Retry || attempt > 100 {
				t.Fatal(err)
			}
		}
		f.lane.next = b.NextOffset
	}
	if f.proxy.Faults() < 20 {
		t.Errorf("only %d faults", f.proxy.Faults())
	}
	f.done(t)
}

// Two partitions that name the same people at the same time (cases 2, 28): conflicts are retried, and
// what comes out is what some order of the batches gives.
func TestConcurrentPartitions(t *testing.T) {
	s := newStore(t, newDSN(t), func(c *Config) { c.Concurrency, c.Attempts = 4, 1000 })
	settings := event.DefaultSettings()
	const workers, batches, size = 3, 12, 10
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		l := claim(t, s, int32(w))
		sh := newShop(3) // the same people for all
		sh.rng = rand.New(rand.NewPCG(uint64(w), 3))
		wg.Go(func() {
			for range batches {
				events := sh.events(size)
				for i := range events {
					events[i].MessageID += "-" + string(rune('a'+w))
				}
				b := l.batch(events)
				b.Settings = map[uuid.UUID]*event.Settings{sh.tenant: &settings}
				if _, err := s.Apply(context.Background(), b); err != nil {
					errs[w] = err
					return
				}
				l.next = b.NextOffset
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	got := dumpSQL(t, s)
	var counted int64
	for _, p := range got.Profiles {
		counted += p.EventCount
		if w, tomb := got.Profiles[p.MergedInto]; p.MergedInto != uuid.Nil && (!tomb || w.MergedInto != uuid.Nil) {
			t.Errorf("tombstone %s points at no live profile", p.ID)
		}
	}
	for _, i := range got.Identifiers {
		if p, ok := got.Profiles[i.ProfileID]; !ok || p.MergedInto != uuid.Nil {
			t.Errorf("identifier %s has no live owner", i.Node)
		}
	}
	if counted != workers*batches*size {
		t.Errorf("%d events counted, not %d", counted, workers*batches*size)
	}
}

// A batch that meets others every time is given up, for a smaller one to be tried.
func TestContended(t *testing.T) {
	f := newFaulty(t, func(c *Config) { c.Attempts = 3 })
	b := f.next(t, 5)
	f.proxy.Set(func(statement string) faultproxy.Fault {
		if statement == "commit" {
			return faultproxy.Retry()
		}
		return faultproxy.Fault{}
	})
	_, err := f.Apply(t.Context(), b)
	if !Contended(err) || Classify(err) != Retry || f.proxy.Faults() != 3 {
		t.Errorf("%v: contended %v, %v, %d attempts", err, Contended(err), Classify(err), f.proxy.Faults())
	}
}

// What cannot be stored is poison, and leaves nothing (case 61).
func TestPoison(t *testing.T) {
	f := newFaulty(t)
	for name, spoil := range map[string]func(*apply.Event){
		"text that is not UTF-8":     func(e *apply.Event) { e.IDs.Anonymous[0] = applytest.ID(e.Tenant, event.KindAnonymous, "\xff") },
		"NUL":                        func(e *apply.Event) { e.IDs.Anonymous[0] = applytest.ID(e.Tenant, event.KindAnonymous, "\x00") },
		"an event that breaks a law": func(e *apply.Event) { e.IDs = event.Identifiers{} },
	} {
		b := f.lane.batch(f.shop.events(5))
		spoil(&b.Events[3])
		_, err := f.Apply(t.Context(), b)
		if err == nil || Classify(err) != Poison {
			t.Errorf("%s: %v is %v", name, err, Classify(err))
		}
		var bug *PanicError
		if errors.As(err, &bug) && len(bug.Stack) == 0 {
			t.Error("a panic without a stack")
		}
	}
	if n := len(dumpSQL(t, f.direct).Profiles); n != 0 {
		t.Errorf("%d profiles were left", n)
	}
}

// A batch of nothing but dead letters moves the offset, and leaves the partition's clock where it was.
func TestOnlyDeadLetters(t *testing.T) {
	f := newFaulty(t)
	b := f.next(t, 3)
	if _, err := f.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	f.lane.next = b.NextOffset
	created := func() (at time.Time) {
		t.Helper()
		if err := f.direct.pool.QueryRow(t.Context(), `SELECT last_created_at FROM processor_offsets`).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := created()
	b = &Batch{Claim: f.lane.claim, Offset: f.lane.next, NextOffset: f.lane.next + 1,
		Dead: []DeadLetter{{Offset: f.lane.next, Reason: "r", Record: outbox.Record{Topic: event.TopicDLQ, Value: []byte("v")}}}}
	out, err := f.Apply(t.Context(), b)
	if err != nil || len(out.Records) != 1 || out.Applied != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	f.lane.next = b.NextOffset
	if before.IsZero() || !created().Equal(before) {
		t.Errorf("the partition's clock went from %v to %v", before, created())
	}
	f.done(t)
}
