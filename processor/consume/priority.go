package consume

import (
	"context"
	"sync"
	"time"
)

// priority lets the backfill wait for live traffic. A live worker is busy from the first record it
// gets until its queue is empty again.
type priority struct {
	mu   sync.Mutex
	busy int
	idle chan struct{} // closed when busy falls to zero; nil while it is zero
}

func (p *priority) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy++; p.busy == 1 {
		p.idle = make(chan struct{})
	}
}

func (p *priority) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy--; p.busy == 0 {
		close(p.idle)
		p.idle = nil
	}
}

// yield waits until no live worker is busy, but not longer than atMost: a backfill is slowed down,
// never starved.
func (p *priority) yield(ctx context.Context, atMost time.Duration) {
	t := time.NewTimer(atMost)
	defer t.Stop()
	for {
		p.mu.Lock()
		idle := p.idle
		p.mu.Unlock()
		if idle == nil {
			return
		}
		select {
		case <-idle:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
