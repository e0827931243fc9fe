package sink

import "testing"

// A slab is large enough, less than four times as large as it has to be, and comes back.
func TestSlabs(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 511, 512, 513, 1 << 20, 1<<20 + 1, 1 << maxSlab} {
		var s slabs[byte]
		slab := s.get(n)
		if len(slab) != 0 || cap(slab) < n || cap(slab) >= 2*max(n, 1) {
			t.Errorf("%d of %d asked for", cap(slab), n)
		}
		for _, grown := range []int{0, 1, cap(slab) / 2} {
			s.put(make([]byte, cap(slab)+grown))
			for _, want := range []int{n, n + grown} {
				if again := s.get(want); len(again) != 0 || cap(again) < want || cap(again) >= 4*max(want, 1) {
					t.Errorf("%d of %d asked for, after one of %d", cap(again), want, cap(slab)+grown)
				}
			}
		}
	}
}
