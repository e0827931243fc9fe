package key

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Cache remembers what the store said about keys, known and unknown. A known key in use is asked
// about again in the background, so that a request waits for the store only when the key is new or
// was long unused; while the store is down, known keys are served from memory.
//
// Lookups are by hash, so their time says nothing about a key's text.
type Cache struct {
	cfg     Config
	source  Source
	metrics *metrics
	now     func() time.Time

	refresh chan *entry // to the workers; when it is full, a later request asks again
	seats   chan struct{}
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.RWMutex // guards what follows
	known   map[[32]byte]*entry
	unknown [2]map[[32]byte]int64 // UnixNano of the answer; two generations bound their number
	flights map[[32]byte]*flight
}

// entry is a known key. Its fields are atomic so that the hot path takes only the read lock.
type entry struct {
	hash    [32]byte
	grant   atomic.Pointer[Grant]
	checked atomic.Int64 // UnixNano of the store's last answer
	failed  atomic.Int64 // UnixNano of the last question it did not answer
	queued  atomic.Bool  // for refresh
}

// flight is a question under way; done is closed when grant and err are set.
type flight struct {
	done  chan struct{}
	grant *Grant
	err   error
}

// New makes a cache. Start runs its workers.
func New(cfg Config, source Source, reg prometheus.Registerer) (*Cache, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Cache{
		cfg: cfg, source: source, metrics: newMetrics(reg), now: time.Now,
		refresh: make(chan *entry, 1024),
		seats:   make(chan struct{}, cfg.MaxLookups),
		known:   map[[32]byte]*entry{},
		unknown: [2]map[[32]byte]int64{{}, {}},
		flights: map[[32]byte]*flight{},
	}, nil
}

// Start runs the workers until Stop.
func (c *Cache) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for range c.cfg.Workers {
		c.workers.Go(func() { c.work(ctx) })
	}
	return nil
}

// Stop ends the workers and waits for them. It may be called twice, and without Start.
func (c *Cache) Stop(context.Context) error {
	if c.cancel != nil {
		c.cancel()
	}
	c.workers.Wait()
	return nil
}

// Lookup answers what a key allows. ErrUnknownKey, ErrUnavailable. An empty key goes the same way
// as any unknown one and takes the same time.
func (c *Cache) Lookup(text []byte) (*Grant, error) {
	if len(text) > MaxBytes {
		text = text[:MaxBytes+1] // longer than any key: surely unknown, and cheap to hash
	}
	hash := sha256.Sum256(text)
	now := c.now().UnixNano()
	c.mu.RLock()
	e := c.known[hash]
	c.mu.RUnlock()
	if e == nil {
		if c.knownUnknown(hash, now) {
			return nil, ErrUnknownKey
		}
		return c.ask(hash, nil)
	}
	age := time.Duration(now - e.checked.Load())
	if age < c.cfg.RefreshAfter {
		return e.grant.Load(), nil
	}
	if time.Duration(now-e.failed.Load()) < c.cfg.RetryAfter {
		if age >= c.cfg.ExpireAfter {
			c.metrics.stale.Inc()
		}
		return e.grant.Load(), nil
	}
	if age < c.cfg.ExpireAfter {
		c.queue(e)
		return e.grant.Load(), nil
	}
	grant, err := c.ask(hash, e)
	if errors.Is(err, ErrUnavailable) {
		c.metrics.stale.Inc()
		return e.grant.Load(), nil
	}
	return grant, err
}

func (c *Cache) knownUnknown(hash [32]byte, now int64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.unknown[0][hash]
	if !ok {
		at, ok = c.unknown[1][hash]
	}
	return ok && time.Duration(now-at) < c.cfg.UnknownFor
}

func (c *Cache) queue(e *entry) {
	if !e.queued.CompareAndSwap(false, true) {
		return
	}
	select {
	case c.refresh <- e:
	default:
		e.queued.Store(false)
	}
}

func (c *Cache) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c.refresh:
			_, _ = c.lookup(ctx, e.hash, e) // the entry remembers the outcome
			e.queued.Store(false)
		}
	}
}

// ask puts a question to the store, or waits for the same question of another request.
func (c *Cache) ask(hash [32]byte, e *entry) (*Grant, error) {
	c.mu.Lock()
	if f := c.flights[hash]; f != nil {
		c.mu.Unlock()
		<-f.done
		return f.grant, f.err
	}
	select {
	case c.seats <- struct{}{}:
	default:
		c.mu.Unlock()
		c.metrics.overflow.Inc()
		return nil, ErrUnavailable
	}
	f := &flight{done: make(chan struct{})}
	c.flights[hash] = f
	c.mu.Unlock()

	f.err = ErrUnavailable // should the source panic, nobody waits for ever
	defer func() {
		c.mu.Lock()
		delete(c.flights, hash)
		c.mu.Unlock()
		close(f.done)
		<-c.seats
	}()
	f.grant, f.err = c.lookup(context.Background(), hash, e)
	return f.grant, f.err
}

// lookup asks the store and remembers its answer. e is the entry so far, or nil.
func (c *Cache) lookup(ctx context.Context, hash [32]byte, e *entry) (*Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LookupTimeout)
	defer cancel()
	k, err := c.source.LookupKey(ctx, hash)
	now := c.now().UnixNano()
	switch {
	case err == nil:
		c.metrics.found.Inc()
		return c.remember(hash, e, k, now), nil
	case errors.Is(err, ErrUnknownKey):
		c.metrics.unknown.Inc()
		c.forget(hash, now)
		return nil, ErrUnknownKey
	}
	c.metrics.failed.Inc()
	if e != nil {
		e.failed.Store(now)
	}
	return nil, ErrUnavailable
}

func (c *Cache) remember(hash [32]byte, e *entry, k Key, now int64) *Grant {
	var b *bucket
	if e != nil {
		b = e.grant.Load().bucket
	} else {
		e = &entry{hash: hash}
	}
	grant := newGrant(k, b)
	e.grant.Store(grant)
	e.checked.Store(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= c.cfg.MaxKnown && c.known[hash] == nil {
		for victim := range c.known { // any one: the store has more keys than this edge may hold
			delete(c.known, victim)
			c.metrics.evicted.Inc()
			break
		}
	}
	c.known[hash] = e
	delete(c.unknown[0], hash)
	delete(c.unknown[1], hash)
	return grant
}

func (c *Cache) forget(hash [32]byte, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, hash)
	if len(c.unknown[0]) >= (c.cfg.MaxUnknown+1)/2 {
		c.unknown[1], c.unknown[0] = c.unknown[0], map[[32]byte]int64{}
	}
	c.unknown[0][hash] = now
}
