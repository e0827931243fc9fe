package seen

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func TestRemembersWithinTheWindow(t *testing.T) {
	w := New(4*time.Hour, 1<<20)
	w.Add(start, 1)
	w.Add(start.Add(3*time.Hour), 2)
	if !w.Has(1) || !w.Has(2) || w.Has(3) {
		t.Error("what was added is there, and nothing else")
	}
	if w.Len() != 2 || !w.Since().Equal(start) {
		t.Errorf("%d since %v", w.Len(), w.Since())
	}
}

func TestForgetsAGenerationAfterTheWindow(t *testing.T) {
	w := New(4*time.Hour, 1<<20)
	for hour := range 24 {
		w.Add(start.Add(time.Duration(hour)*time.Hour), uint64(hour))
	}
	if w.Has(0) {
		t.Error("remembers what is 23 hours old in a window of 4")
	}
	for hour := 24 - Generations; hour < 24; hour++ {
		if !w.Has(uint64(hour)) {
			t.Errorf("forgot hour %d", hour)
		}
	}
}

func TestForgetsTheOldestWhenFull(t *testing.T) {
	const limit = 800
	w := New(time.Hour, limit)
	for i := range uint64(10 * limit) {
		w.Add(start, i*0x9e3779b97f4a7c15)
		if w.Len() > limit {
			t.Fatalf("%d hashes, the limit is %d", w.Len(), limit)
		}
	}
	for i := uint64(10*limit - limit*(Generations-1)/Generations); i < 10*limit; i++ {
		if !w.Has(i * 0x9e3779b97f4a7c15) {
			t.Fatalf("forgot %d, which is among the newest", i)
		}
	}
}

func TestSeldomMistaken(t *testing.T) {
	const n = 100_000
	w := New(time.Hour, 8*n)
	random := rand.New(rand.NewPCG(1, 2))
	for range n {
		w.Add(start, random.Uint64())
	}
	mistakes := 0
	for range n {
		if w.Has(random.Uint64()) {
			mistakes++
		}
	}
	if mistakes > 0 {
		t.Errorf("%d mistakes in %d questions", mistakes, n)
	}
}

// A window that never turns is a set: it never denies what was added.
func TestNeverDenies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hashes := rapid.SliceOfN(rapid.Uint64(), 1, 200).Draw(t, "hashes")
		w := New(time.Hour, Generations*len(hashes))
		for i, h := range hashes {
			w.Add(start, h)
			for _, old := range hashes[:i+1] {
				if !w.Has(old) {
					t.Fatalf("denies %x", old)
				}
			}
		}
	})
}

func BenchmarkWindow(b *testing.B) {
	w := New(time.Hour, 8<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for range 8 << 20 {
		w.Add(start, random.Uint64())
	}
	b.ReportAllocs()
	for b.Loop() {
		h := random.Uint64()
		if !w.Has(h) {
			w.Add(start, h)
		}
	}
}
