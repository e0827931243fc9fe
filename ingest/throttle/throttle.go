// Package throttle keeps repeated messages from filling a log: the first is written, then one an
// interval, with the number of those left out.
package throttle

import (
	"sync/atomic"
	"time"
)

// Interval is how often a message may be repeated.
const Interval = 10 * time.Second

// Message is one message that may repeat. The zero value is ready; it is safe for concurrent use.
type Message struct {
	last atomic.Int64 // UnixNano it was written
	left atomic.Int64 // out since
}

// Now tells whether the message is to be written, and how many were left out before it.
func (m *Message) Now() (leftOut int64, ok bool) {
	now := time.Now().UnixNano()
	last := m.last.Load()
	if (last != 0 && now-last < int64(Interval)) || !m.last.CompareAndSwap(last, now) {
		m.left.Add(1)
		return 0, false
	}
	return m.left.Swap(0), true
}
