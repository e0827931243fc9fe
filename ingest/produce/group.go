package produce

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// group is records of many requests that go to the log together. done is closed when its fate is
// known; the fields above it are then final.
type group struct {
	late    bool                  // no answer in time: it may or may not be in the log
	failed  map[*kgo.Record]error // what the log refused; nil: nothing
	unsent  bool                  // it was never handed to the log
	done    chan struct{}
	decided bool // under Lane.mu: done is closed
	records []*kgo.Record
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// run hands group after group to the log. While one is under way the next gathers.
func (l *Lane) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ready:
		case <-ctx.Done():
			l.mu.Lock()
			l.decide(l.gather, func(g *group) { g.unsent = true })
			l.mu.Unlock()
			return
		}
		for l.company(ctx, timer); l.send(ctx); l.company(ctx, timer) {
		}
	}
}

// company waits until the group that gathers may go: until as many records have come as the one before it
// had, of which enough is always enough, or until that one left Config.Pace ago. So whoever writes alone, or
// together with the same others again and again, waits for nobody. Where records come at random the log's client,
// which takes as long for a group of two as for one of ten, is asked less often.
func (l *Lane) company(ctx context.Context, timer *time.Timer) {
	for ctx.Err() == nil {
		// Those whom the last answer has woken, and requests that have come meanwhile, go first: they
		// make the group larger. Where nobody waits this costs nothing.
		runtime.Gosched()
		wait := l.cfg.Pace - time.Since(l.left)
		l.mu.Lock()
		if n := len(l.gather.records); n == 0 || n >= l.wanted || wait <= 0 {
			l.mu.Unlock()
			return
		}
		l.wake = l.wanted
		l.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-l.ready:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// send hands over what has gathered and waits for the answer. It answers false if there was nothing.
func (l *Lane) send(ctx context.Context) bool {
	l.mu.Lock()
	g := l.gather
	if len(g.records) == 0 {
		l.sent, l.wake = nil, 1
		l.mu.Unlock()
		return false
	}
	l.sent, l.gather, l.wake = g, newGroup(), math.MaxInt // the sender waits for the log, not for records
	l.mu.Unlock()

	begin := time.Now()
	l.left, l.wanted = begin, min(len(g.records), enough)
	watchdog := time.AfterFunc(l.cfg.AckWithin, func() { l.overdue(g) })
	results := l.client.ProduceSync(ctx, g.records...)
	watchdog.Stop()
	l.metrics.groups.Observe(float64(len(g.records)))
	l.metrics.ack.Observe(time.Since(begin).Seconds())

	var failed map[*kgo.Record]error
	for _, r := range results {
		if r.Err != nil {
			if failed == nil {
				failed = map[*kgo.Record]error{}
			}
			failed[r.Record] = r.Err
		}
	}
	if failed != nil {
		l.metrics.failed.Add(float64(len(failed)))
		if leftOut, ok := l.refusals.Now(); ok {
			l.log.Warn("the log refused records", "records", len(failed), "error", results.FirstErr(), "left_out", leftOut)
		}
	}
	l.metrics.logged.Add(float64(len(results) - len(failed)))
	l.mu.Lock()
	l.decide(g, func(g *group) { g.failed = failed })
	wasLate := g.late
	l.mu.Unlock()
	if wasLate {
		l.late.Store(false)
		signal(l.punctual)
		l.log.Info("the log answers again", "after_ms", time.Since(begin).Milliseconds())
	}
	return true
}

// overdue is the watchdog: the group's requests, and those that wait behind it, go to the spool.
func (l *Lane) overdue(g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.decided {
		return
	}
	l.late.Store(true) // before anybody learns of it: what they send next must not overtake them
	l.decide(g, func(g *group) { g.late = true })
	behind := l.gather
	l.gather = newGroup()
	l.decide(behind, func(g *group) { g.unsent = true })
	l.metrics.late.Add(float64(len(g.records)))
	if leftOut, ok := l.silences.Now(); ok {
		l.log.Warn("the log does not answer; spooling", "records", len(g.records), "waited_ms", l.cfg.AckWithin.Milliseconds(), "left_out", leftOut)
	}
}

// decide makes a group's fate known, once. l.mu is held.
func (l *Lane) decide(g *group, fate func(g *group)) {
	if !g.decided {
		fate(g)
		g.decided = true
		close(g.done)
	}
}
