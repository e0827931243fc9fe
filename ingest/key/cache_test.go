package key

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a Source under the test's control.
type store struct {
	mu    sync.Mutex
	keys  map[[32]byte]Key
	down  bool
	slow  time.Duration
	asked atomic.Int64
}

func (s *store) set(text string, k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[[32]byte]Key{}
	}
	s.keys[sha256.Sum256([]byte(text))] = k
}

func (s *store) revoke(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, sha256.Sum256([]byte(text)))
}

func (s *store) outage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) LookupKey(ctx context.Context, hash [32]byte) (Key, error) {
	s.asked.Add(1)
	s.mu.Lock()
	down, slow := s.down, s.slow
	k, ok := s.keys[hash]
	s.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return Key{}, ctx.Err()
		}
	}
	switch {
	case down:
		return Key{}, errors.New("connection refused")
	case !ok:
		return Key{}, ErrUnknownKey
	}
	return k, nil
}

// within runs a test of a cache on a fake clock.
func within(t *testing.T, change func(*Config), f func(t *testing.T, c *Cache, s *store)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		if change != nil {
			change(&cfg)
		}
		s := new(store)
		c, err := New(cfg, s, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = c.Stop(t.Context()), c.Stop(t.Context()) }()
		f(t, c, s)
	})
}

func TestKnownKeyIsAskedOnce(t *testing.T) {
	within(t, nil, func(t *testing.T, c *Cache, s *store) {
		s.set("k", Key{KeyID: "1"})
		for range 10 {
			g, err := c.Lookup([]byte("k"))
			if err != nil || g.KeyID != "1" {
				t.Fatal(g, err)
			}
		}
		if n := s.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestUnknownKeysAreRememberedAndBounded(t *testing.T) {
	within(t, func(c *Config) { c.MaxUnknown = 10 }, func(t *testing.T, c *Cache, s *store) {
		for range 5 {
			if _, err := c.Lookup([]byte("nope")); !errors.Is(err, ErrUnknownKey) {
				t.Fatal(err)
			}
		}
		if _, err := c.Lookup(nil); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("no key at all: %v", err)
		}
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		for i := range 1000 {
			_, _ = c.Lookup([]byte{byte(i), byte(i >> 8), 1})
		}
		if n := len(c.unknown[0]) + len(c.unknown[1]); n > 10 {
			t.Errorf("%d unknown keys are held", n)
		}
		s.set("nope", Key{KeyID: "new"})
		time.Sleep(DefaultConfig().UnknownFor)
		if g, err := c.Lookup([]byte("nope")); err != nil || g.KeyID != "new" {
			t.Errorf("a key that was created after it was refused: %v", err)
		}
	})
}

func TestRevocationTakesEffectWithinTenSeconds(t *testing.T) {
	for name, busy := range map[string]bool{"a key in use": true, "an idle key": false} {
		t.Run(name, func(t *testing.T) {
			within(t, nil, func(t *testing.T, c *Cache, s *store) {
				s.set("k", Key{KeyID: "1"})
				if _, err := c.Lookup([]byte("k")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				_, _ = c.Lookup([]byte("k"))
				s.revoke("k")
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					if busy {
						_, _ = c.Lookup([]byte("k"))
					}
				}
				if _, err := c.Lookup([]byte("k")); !errors.Is(err, ErrUnknownKey) {
					t.Errorf("still served after 10 s: %v", err)
				}
			})
		})
	}
}

func TestIdleRevokedKeyIsNotServedOnce(t *testing.T) {
	within(t, nil, func(t *testing.T, c *Cache, s *store) {
		s.set("k", Key{})
		_, _ = c.Lookup([]byte("k"))
		s.revoke("k")
		time.Sleep(time.Hour)
		if _, err := c.Lookup([]byte("k")); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("the first request after an hour: %v", err)
		}
	})
}

func TestKnownKeysAreServedWhileTheStoreIsDown(t *testing.T) {
	within(t, nil, func(t *testing.T, c *Cache, s *store) {
		s.set("k", Key{KeyID: "1"})
		_, _ = c.Lookup([]byte("k"))
		s.outage(true)
		before := s.asked.Load()
		for range 3600 {
			time.Sleep(time.Second)
			if g, err := c.Lookup([]byte("k")); err != nil || g.KeyID != "1" {
				t.Fatalf("known key: %v", err)
			}
		}
		if n := s.asked.Load() - before; n > 2000 {
			t.Errorf("the store was asked %d times in an hour of outage", n)
		}
		if _, err := c.Lookup([]byte("new")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a key nobody knows: %v", err)
		}
		s.outage(false)
		s.revoke("k")
		time.Sleep(5 * time.Second)
		_, _ = c.Lookup([]byte("k"))
		time.Sleep(5 * time.Second)
		if _, err := c.Lookup([]byte("k")); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("revoked during the outage: %v", err)
		}
	})
}

func TestSettingsAndLimitsSurviveARefresh(t *testing.T) {
	within(t, nil, func(t *testing.T, c *Cache, s *store) {
		s.set("k", Key{KeyID: "1", RatePerSecond: 0.001, Burst: 1})
		g, _ := c.Lookup([]byte("k"))
		if g.Take(time.Now().UnixNano()) != 0 {
			t.Fatal("the first event must pass")
		}
		s.set("k", Key{KeyID: "2", RatePerSecond: 0.001, Burst: 1})
		time.Sleep(5 * time.Second)
		_, _ = c.Lookup([]byte("k"))
		synctest.Wait()
		g, _ = c.Lookup([]byte("k"))
		if g.KeyID != "2" {
			t.Errorf("the change did not arrive: %s", g.KeyID)
		}
		if g.Take(time.Now().UnixNano()) == 0 {
			t.Error("the refresh emptied the bucket's memory")
		}
	})
}

func TestOneQuestionForManyRequests(t *testing.T) {
	within(t, func(c *Config) { c.MaxLookups = 2 }, func(t *testing.T, c *Cache, s *store) {
		s.set("k", Key{KeyID: "1"})
		s.slow = 500 * time.Millisecond
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := c.Lookup([]byte("k")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() { _, _ = c.Lookup([]byte("other")) })
		synctest.Wait()
		if _, err := c.Lookup([]byte("third")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a third question at the same time: %v", err)
		}
		wg.Wait()
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestSlowStoreIsGivenUpOn(t *testing.T) {
	within(t, nil, func(t *testing.T, c *Cache, s *store) {
		s.slow = time.Hour
		start := time.Now()
		if _, err := c.Lookup([]byte("k")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took > DefaultConfig().LookupTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestKnownKeysAreBounded(t *testing.T) {
	within(t, func(c *Config) { c.MaxKnown = 3 }, func(t *testing.T, c *Cache, s *store) {
		for _, k := range []string{"a", "b", "c", "d", "e"} {
			s.set(k, Key{KeyID: k})
			if g, err := c.Lookup([]byte(k)); err != nil || g.KeyID != k {
				t.Fatal(err)
			}
		}
		if len(c.known) != 3 {
			t.Errorf("%d keys are held", len(c.known))
		}
	})
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := new(store)
	s.set("ks_trk_0123456789abcdef0123456789abcdef", Key{})
	c, err := New(DefaultConfig(), s, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("ks_trk_0123456789abcdef0123456789abcdef")
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Lookup(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	s := new(store)
	text := []byte("ks_trk_0123456789abcdef0123456789abcdef")
	s.set(string(text), Key{})
	cfg := DefaultConfig()
	c, err := New(cfg, s, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Lookup(text); err != nil {
			b.Fatal(err)
		}
	}
}
