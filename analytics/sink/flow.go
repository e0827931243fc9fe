package sink

import (
	"context"
	"sync"
	"time"
)

// budget bounds the bytes of the records in memory. It never refuses what is there already: the
// reader of the log asks before it fetches more.
type budget struct {
	mu    sync.Mutex
	used  int
	limit int
	freed chan struct{} // closed, and made anew, when used falls below limit
	gauge func(bytes int)
}

func newBudget(limit int, gauge func(int)) *budget {
	return &budget{limit: limit, freed: make(chan struct{}), gauge: gauge}
}

func (b *budget) take(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += bytes
	b.gauge(b.used)
}

func (b *budget) give(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.used >= b.limit
	b.used -= bytes
	b.gauge(b.used)
	if full && b.used < b.limit {
		close(b.freed)
		b.freed = make(chan struct{})
	}
}

func (b *budget) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used >= b.limit
}

// wait returns when there is room, or with ctx's error.
func (b *budget) wait(ctx context.Context) error {
	for {
		b.mu.Lock()
		freed, full := b.freed, b.used >= b.limit
		b.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pace spreads the small inserts of all lanes: at most so many in a second.
type pace struct {
	mu       sync.Mutex
	interval time.Duration
	next     time.Time
}

func newPace(perSecond int) *pace { return &pace{interval: time.Second / time.Duration(perSecond)} }

// ask answers 0, and the caller may insert now, or how long to wait before asking again.
func (p *pace) ask(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wait := p.next.Sub(now); wait > 0 {
		return wait
	}
	p.next = now.Add(p.interval)
	return 0
}
