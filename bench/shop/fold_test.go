package shop_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// log is a stream as the edge would put it into the log: partitions by routing key, received_at
// strictly increasing.
func log(t *testing.T, s *shop.Stream, partitions int) [][]apply.Event {
	t.Helper()
	tenant, settings := uuid.New(), event.DefaultSettings()
	received := shop.DefaultStart.Add(365 * 24 * time.Hour)
	all := make([][]apply.Event, partitions)
	for body, d := range s.All() {
		if d.Invalid != "" {
			continue
		}
		var e event.Event
		var ids event.Identifiers
		if err := e.Decode(slices.Clone(body), event.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		e.Identifiers(tenant, &settings, &ids)
		received = received.Add(time.Millisecond)
		at, _ := e.Time(received)
		hash := fnv.New32()
		_, _ = hash.Write(event.RoutingKey(nil, tenant, ids.Routing()))
		p := hash.Sum32() % uint32(partitions)
		all[p] = append(all[p], apply.Event{Tenant: tenant, MessageID: string(e.MessageID), Type: e.Type, Name: string(e.Name), IDs: ids,
			Payload: e.Payload, Traits: event.Member(e.Context, "traits"), At: at, ReceivedAt: received})
	}
	return all
}

// fold applies all partitions in batches, which of them next being left to chance.
func fold(t *testing.T, partitions [][]apply.Event, rng *rand.Rand) *applytest.Store {
	t.Helper()
	store := applytest.NewStore(nil)
	for {
		partitions = slices.DeleteFunc(partitions, func(p []apply.Event) bool { return len(p) == 0 })
		if len(partitions) == 0 {
			return store
		}
		i := rng.IntN(len(partitions))
		n := min(1+rng.IntN(300), len(partitions[i]))
		batch := partitions[i][:n]
		if _, err := store.Apply(fmt.Sprint(batch[0].IDs.Routing().Node), batch, time.Now()); err != nil {
			t.Fatal(err)
		}
		partitions[i] = partitions[i][n:]
	}
}

// What the shop's books say is what the processor's arithmetic makes of the events: on one
// partition, and on several that run in any order.
func TestTruthIsWhatComesOut(t *testing.T) {
	for _, mix := range []shop.Mix{shop.DefaultMix(), shop.IdentifyStormMix()} {
		for _, partitions := range []int{1, 5} {
			cfg := shop.DefaultConfig()
			cfg.Mix, cfg.Events, cfg.Invalid = mix, 2_000, 0.01
			s, err := shop.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			store := fold(t, log(t, s, partitions), rand.New(rand.NewPCG(1, uint64(partitions))))
			if err := store.Check(); err != nil {
				t.Error(err)
			}
			got, want := outcome(store), s.Truth().Figures()
			if !maps.Equal(got, want) {
				t.Errorf("%s, %d partitions:\n got %v\nwant %v", mix.Name, partitions, got, want)
			}
		}
	}
}

func outcome(store *applytest.Store) map[string]int64 {
	got := map[string]int64{"products": int64(len(store.Products)), "conflicts": int64(len(store.Conflicts))}
	for _, p := range store.Live() {
		got["messages"] += p.EventCount
		if p.Kind == identity.Anchor {
			got["people"]++
		} else {
			got["shadows"]++
		}
	}
	for _, m := range store.Merges {
		if m.Kind == "collapse" {
			got["collapses"]++
		}
	}
	for _, o := range store.Orders {
		got["orders."+o.Status]++
		if o.Status == shop.StatusCompleted {
			got["revenue."+o.Currency] += hundredths(o.Total)
		}
	}
	maps.DeleteFunc(got, func(_ string, n int64) bool { return n == 0 })
	return got
}

// hundredths reads exact decimal text.
func hundredths(text string) (n int64) {
	whole, fraction, _ := strings.Cut(text, ".")
	for _, digit := range whole + (fraction + "00")[:2] {
		n = n*10 + int64(digit-'0')
	}
	return n
}
