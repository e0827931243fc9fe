package load

import (
	"math/bits"
	"time"
)

// Every power of two is cut into subBuckets: a quantile is at most 1.6 % off.
const (
	subBits    = 6
	subBuckets = 1 << subBits
	buckets    = (64 - subBits) * subBuckets
)

// Histogram counts durations in buckets that grow with them, from a nanosecond to centuries, in
// constant memory. The zero value is ready. It belongs to one goroutine; Add joins several.
type Histogram struct {
	counts [buckets]int64
	count  int64
	sum    time.Duration
	max    time.Duration
}

// Record counts a duration; a negative one as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.count++
	h.sum += d
	h.max = max(h.max, d)
}

// Add counts all that other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() int64 { return h.count }

// Max is the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the average duration.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// Quantile is the duration that a share q (0 to 1) of all does not exceed, rounded up to its
// bucket's end. Without durations it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q*float64(h.count) + 0.5)
	rank = min(max(rank, 1), h.count)
	var seen int64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= rank {
			return min(time.Duration(lastOf(i)), h.max)
		}
	}
	return 0
}

// bucketOf: values below subBuckets have a bucket each; above, the leading subBits+1 bits decide.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift*subBuckets + int(v>>shift)
}

// lastOf is the greatest value of a bucket.
func lastOf(i int) uint64 {
	if i < 2*subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(i-shift*subBuckets)+1)<<shift - 1
}
