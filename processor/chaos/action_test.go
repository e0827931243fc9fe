package chaos_test

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/store"
)

// action is one thing that happens to processors, the store or the broker.
type action func(*campaign)

// shuffle lays out what is to happen: everything once per round, in another order each time.
func (c *campaign) shuffle() {
	for range *flagRounds {
		round := []action{
			func(c *campaign) { c.restart(left) },
			func(c *campaign) { c.restart(leftAtOnce) },
			func(c *campaign) { c.downFor(storeDown, outage) },
			func(c *campaign) { c.downFor(brokerDown, outage) },
			func(c *campaign) { c.tally.add(brokerCut); c.broker.gate.cut() },
			func(c *campaign) { c.tally.add(sessionLost); c.broker.forget() },
			func(c *campaign) {
				c.tally.add(leadersMoved)
				c.broker.ShufflePartitionLeaders()
				c.broker.RehashCoordinators()
			},
			(*campaign).pause, (*campaign).claim, (*campaign).claim,
		}
		c.rng.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		c.deck = append(c.deck, round...)
	}
	if *flagOutage > 0 {
		c.deck = slices.Insert(c.deck, len(c.deck)/2, func(c *campaign) { c.downFor(storeDown, *flagOutage) })
	}
}

// restart lets a processor of this process leave, and come back once others have gone on.
func (c *campaign) restart(how class) {
	c.t.Helper()
	m := c.members[c.rng.IntN(inProcess)]
	if m.processor == nil {
		m.join()
		c.tally.add(joined)
	}
	m.leave(how == leftAtOnce)
	c.tally.add(how)
	back := c.progress() + int64(*flagEvents/100)
	c.doneWhen = append(c.doneWhen, func() bool {
		if c.progress() < back || m.processor != nil {
			return m.processor != nil
		}
		m.join()
		c.tally.add(joined)
		return true
	})
}

// downFor takes the store or the broker away for a time, which is the fault.
func (c *campaign) downFor(what class, d time.Duration) {
	c.tally.add(what)
	c.down = true
	if what == storeDown {
		for _, m := range c.members {
			m.proxy.Down()
		}
	} else {
		c.broker.gate.setDown(true)
	}
	end := time.Now().Add(d)
	c.doneWhen = append(c.doneWhen, func() bool {
		if time.Now().Before(end) {
			return false
		}
		c.down = false
		if what == storeDown {
			c.storeUp()
		} else {
			c.broker.gate.setDown(false)
		}
		return true
	})
}

func (c *campaign) storeUp() {
	for _, m := range c.members {
		m.proxy.Up()
	}
}

// pause stops a child that owns partitions until others have them all, and lets it go on then: it
// does not know that it is a zombie.
func (c *campaign) pause() {
	c.t.Helper()
	owns := func(m *member) bool {
		for l, p := range c.positions {
			if p.owner == m.name && p.next < int64(len(c.log[l])) {
				return true
			}
		}
		return false
	}
	c.doneWhen = append(c.doneWhen, func() bool { // as soon as there is one
		for _, m := range c.members[inProcess:] {
			if m.child != nil && m.child.paused.IsZero() && owns(m) {
				x := m.child
				x.paused = time.Now()
				x.process.Signal(syscall.SIGSTOP)
				c.doneWhen = append(c.doneWhen, func() bool {
					if owns(m) && time.Since(x.paused) < pauseAtMost && m.child == x {
						return false
					}
					if !owns(m) {
						c.tally.add(paused)
					}
					m.resume()
					return true
				})
				return true
			}
		}
		return false
	})
}

// resume ends a pause.
func (m *member) resume() {
	if x := m.child; x != nil && !x.paused.IsZero() {
		x.paused = time.Time{}
		x.process.Signal(syscall.SIGCONT)
	}
}

// claim takes a partition that somebody works on, as another owner; once its worker has it back, the
// former owner comes with a batch.
func (c *campaign) claim() {
	c.t.Helper()
	var busy []lane
	for _, l := range lanes {
		if c.positions[l].next < int64(len(c.log[l])*9/10) {
			busy = append(busy, l)
		}
	}
	if len(busy) == 0 {
		return
	}
	l := busy[c.rng.IntN(len(busy))]
	old, _, err := c.states.Claim(c.t.Context(), l.topic, l.partition, "stranger")
	if err != nil && store.Classify(err) == store.Retry { // it has met the owner every time
		c.doneWhen = append(c.doneWhen, func() bool { c.claim(); return true })
		return
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.tally.add(claimed)
	c.doneWhen = append(c.doneWhen, func() bool {
		p := c.positions[l]
		if p.epoch == old.Epoch {
			return false
		}
		c.zombie(old, p.next)
		return true
	})
}

// zombie is a former owner's batch. Were it taken, a person would be in the state whom nobody expects.
func (c *campaign) zombie(old store.Claim, at int64) {
	c.t.Helper()
	nobody := applytest.ID(applytest.Lenient, event.KindCRM, "zombie")
	b := &store.Batch{Claim: old, Offset: at, NextOffset: at + 1, Settings: applytest.Settings(), Events: []apply.Event{{
		Tenant: applytest.Lenient, MessageID: "zombie", Type: event.Page, At: c.began, ReceivedAt: c.began,
		IDs: event.Identifiers{Verified: []event.Identifier{nobody}},
	}}}
	_, err := c.states.Apply(context.WithoutCancel(c.t.Context()), b)
	for err != nil && store.Classify(err) == store.Retry { // likewise
		_, err = c.states.Apply(context.WithoutCancel(c.t.Context()), b)
	}
	if !errors.Is(err, store.ErrFenced) {
		c.t.Errorf("a former owner's batch: %v", err)
	}
	c.tally.add(zombieBatch)
}
