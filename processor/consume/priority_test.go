package consume

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The backfill waits while live traffic is busy, goes on when it is not, and is never starved.
func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p priority
		begin := time.Now()
		wait := func(atMost time.Duration) time.Duration {
			begin = time.Now()
			p.yield(context.Background(), atMost)
			return time.Since(begin)
		}
		if d := wait(time.Hour); d != 0 {
			t.Errorf("waited %v for nobody", d)
		}
		p.enter()
		p.enter()
		go func() {
			time.Sleep(time.Second)
			p.leave() // another one is busy still
			time.Sleep(time.Second)
			p.leave()
		}()
		if d := wait(time.Hour); d != 2*time.Second {
			t.Errorf("waited %v, not 2s", d)
		}
		p.enter()
		if d := wait(3 * time.Second); d != 3*time.Second {
			t.Errorf("starved for %v", d)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.yield(ctx, time.Hour)
		p.leave()
		if d := wait(time.Hour); d != 0 {
			t.Errorf("waited %v for nobody", d)
		}
	})
}
