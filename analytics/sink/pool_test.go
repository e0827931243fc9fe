package sink

import "testing"

// A slab is large enough, not much larger than it has to be, and comes back to who asks for as much.
func TestSlabs(t *testing.T) {
	for n := 1; n < 1<<(maxSlab+1); n += 1 + n/9 {
		var s slabs[byte]
		slab := s.get(n)
		if len(slab) != 0 || cap(slab) < n || cap(slab) > n+n/4+1 {
			t.Errorf("%d asked for, %d made", n, cap(slab))
		}
		for _, grown := range []int{0, 1, cap(slab) / 8, cap(slab) / 2} {
			s.put(make([]byte, 0, cap(slab)+grown))
			for _, want := range []int{n, n + grown} {
				if again := s.get(want); len(again) != 0 || cap(again) < want || cap(again) > want+want/2+1 {
					t.Errorf("%d asked for, %d answered after %d were put back", want, cap(again), cap(slab)+grown)
				}
			}
		}
	}
}
