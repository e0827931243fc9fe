package key

import (
	"math"
	"sync/atomic"
	"time"
)

// Grant is a key as the edge holds it: what the store said, and the state of its rate limit. It is
// immutable but for the limit, which survives a refresh.
type Grant struct {
	Key
	origins origins
	bucket  *bucket
	each    int64 // nanoseconds that one event costs; 0: unlimited
	window  int64 // nanoseconds of burst
}

func newGrant(k Key, b *bucket) *Grant {
	if b == nil {
		b = new(bucket)
	}
	g := &Grant{Key: k, origins: parseOrigins(k.Origins), bucket: b}
	if k.RatePerSecond > 0 {
		g.each = max(1, int64(float64(time.Second)/k.RatePerSecond))
		burst := float64(k.Burst)
		if burst < 1 {
			burst = math.Max(1, math.Ceil(k.RatePerSecond))
		}
		g.window = int64(math.Min(burst*float64(g.each), float64(math.MaxInt64/4)))
	}
	return g
}

// AllowsOrigin tells whether a page of this origin may use the key. A request without an origin
// comes from no page, and passes.
func (g *Grant) AllowsOrigin(origin []byte) bool {
	return len(g.origins) == 0 || len(origin) == 0 || g.origins.allow(origin)
}

// Take charges n events to the key at a time (UnixNano). It answers 0 if the key had at least one
// event left, else how long until it has. More than what is left may be taken once; what comes
// after then waits for the debt to be paid. So a batch larger than the burst is not locked out.
func (g *Grant) Take(n int, now int64) time.Duration {
	if g.each == 0 {
		return 0
	}
	for {
		paid := g.bucket.paidUntil.Load()
		from := max(paid, now)
		if wait := from + g.each - now - g.window; wait > 0 {
			return time.Duration(wait)
		}
		cost := int64(math.MaxInt64 / 4)
		if int64(n) < cost/g.each {
			cost = int64(n) * g.each
		}
		if g.bucket.paidUntil.CompareAndSwap(paid, from+cost) {
			return 0
		}
	}
}

// Charge adds n events to what the key has taken, whatever it has left.
func (g *Grant) Charge(n int, now int64) {
	if g.each == 0 || n <= 0 {
		return
	}
	for {
		paid := g.bucket.paidUntil.Load()
		cost := min(int64(n)*g.each, int64(time.Hour)) // n is bounded by a batch's length; a debt by an hour
		if g.bucket.paidUntil.CompareAndSwap(paid, max(paid, now)+cost) {
			return
		}
	}
}

// bucket is a token bucket in the form of the generic cell rate algorithm: one number, the time
// until which what was taken is paid for.
type bucket struct{ paidUntil atomic.Int64 }
