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
	Addresses AddressMode // what becomes of visitors' addresses
	Blocked   *Blocklist  // nil: nothing is

	origins origins
	bucket  *bucket
	each    int64 // nanoseconds that one event costs; 0: unlimited
	window  int64 // nanoseconds of burst
}

func newGrant(k Key, b *bucket) *Grant {
	if b == nil {
		b = new(bucket)
	}
	g := &Grant{Key: k, Addresses: addressMode(k.Settings.IP), Blocked: newBlocklist(&k.Settings), origins: parseOrigins(k.Origins), bucket: b}
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

// Take charges one event to the key at a time (UnixNano). It answers 0, or how long until the key
// has an event left.
func (g *Grant) Take(now int64) time.Duration {
	if g.each == 0 {
		return 0
	}
	for {
		paid := g.bucket.paidUntil.Load()
		from := max(paid, now)
		if wait := from + g.each - now - g.window; wait > 0 {
			return time.Duration(wait)
		}
		if g.bucket.paidUntil.CompareAndSwap(paid, from+g.each) {
			return 0
		}
	}
}

// maxDebt bounds how long a key pays for one batch.
const maxDebt = int64(time.Minute)

// Charge adds n further events to a request that Take has let in. A batch may be larger than the
// burst: it passes, and the key then waits until its debt is paid.
func (g *Grant) Charge(n int, now int64) {
	if g.each == 0 || n <= 0 {
		return
	}
	for {
		paid := g.bucket.paidUntil.Load()
		until := max(paid, now) + min(int64(n)*min(g.each, maxDebt), maxDebt)
		if g.bucket.paidUntil.CompareAndSwap(paid, until) {
			return
		}
	}
}

// bucket is a token bucket in the form of the generic cell rate algorithm: one number, the time
// until which what was taken is paid for.
type bucket struct{ paidUntil atomic.Int64 }
