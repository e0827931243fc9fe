package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Quantiles are those of the sorted durations, at most one bucket (1.6 %) above.
func TestQuantilesAreNearTheExactOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h, other Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(math.Exp(rng.NormFloat64()*3 + 13))
		all = append(all, d)
		if i%2 == 0 {
			h.Record(d)
		} else {
			other.Record(d)
		}
	}
	h.Add(&other)
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[int(math.Ceil(q*float64(len(all))))-1]
		got := h.Quantile(q)
		if got < exact-1 || float64(got) > float64(exact)*1.017+1 {
			t.Errorf("quantile %g: got %s, exactly %s", q, got, exact)
		}
	}
	if h.Count() != 20_000 || h.Max() != all[len(all)-1] || h.Mean() <= all[0] || h.Mean() >= h.Max() {
		t.Errorf("count %d, mean %s, max %s", h.Count(), h.Mean(), h.Max())
	}
}

func TestBucketsCoverAllDurations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, math.MaxInt64).Draw(t, "v") >> rapid.IntRange(0, 62).Draw(t, "shift")
		i := bucketOf(v)
		if i < 0 || i >= buckets || lastOf(i) < v || i > 0 && lastOf(i-1) >= v {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, i, lastOf(i))
		}
	})
}

func TestEmptyHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 {
		t.Errorf("got %s and %s of nothing", h.Quantile(0.5), h.Mean())
	}
	h.Record(-time.Second)
	if h.Quantile(1) != 0 || h.Count() != 1 {
		t.Errorf("a negative duration counts as %s", h.Quantile(1))
	}
}
