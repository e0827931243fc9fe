package edge

import (
	"sync"
	"time"
)

// deadline spares a connection's timer. The server moves its deadlines with every request, nearly
// always to a later time, and hardly ever does one pass. So the timer is left where it is and, when
// it fires before its time, set anew: once in a timeout instead of thrice in a request.
type deadline struct {
	mu     sync.Mutex
	wanted time.Time // zero: none
	armed  time.Time // what the timer was last set to; not after wanted
}

// set notes a deadline and tells whether the timer must be set to it.
func (d *deadline) set(t time.Time) (arm bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || !d.armed.IsZero() && !d.armed.After(t) {
		return false
	}
	d.armed = t
	return true
}

// early tells whether the timer has fired before its time, and what it must be set to then.
func (d *deadline) early(now time.Time) (t time.Time, early bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.wanted.IsZero() && !now.Before(d.wanted) {
		return time.Time{}, false
	}
	d.armed = d.wanted
	return d.wanted, true
}
