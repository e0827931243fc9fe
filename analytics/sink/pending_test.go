package sink

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// Whatever comes and goes, what is pending is what a map says it is. The hashes meet and wrap around on purpose.
func TestPendingIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pending{slots: make([]pendingSlot, 8)}
		var batches [3]claims
		want := map[uint64]message{}
		own := [len(batches)]map[uint64]message{{}, {}, {}}
		batch := rapid.IntRange(0, len(batches)-1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i, hash := batch.Draw(t, "batch"), rapid.SampledFrom([]uint64{0, 1, 5, 6, 7}).Draw(t, "place")+8*rapid.Uint64Range(0, 9).Draw(t, "turn")
				m := message{tenant, fmt.Sprint("m", hash)}
				slot, found := p.find(hash)
				if _, there := want[hash]; there != found {
					t.Fatalf("%d: %v, want %v", hash, found, there)
				}
				if !found {
					p.add(slot, &batches[i], hash, m)
					want[hash], own[i][hash] = m, m
				}
			},
			"drop": func(t *rapid.T) {
				i := batch.Draw(t, "batch")
				p.drop(&batches[i])
				batches[i].reset()
				maps.DeleteFunc(want, func(hash uint64, _ message) bool { _, ok := own[i][hash]; return ok })
				clear(own[i])
			},
			"": func(t *rapid.T) {
				if p.count != len(want) {
					t.Fatalf("%d, want %d", p.count, len(want))
				}
				for hash, m := range want {
					slot, found := p.find(hash)
					if !found || !p.holds(slot, m) || p.holds(slot, message{tenant, "other"}) || p.holds(slot, message{node("anonymous", "x"), m.id}) {
						t.Fatalf("%d is not what it was", hash)
					}
				}
			},
		})
	})
}
