package edge

import (
	"sync/atomic"
	"time"
)

// Large bodies leave the processor to small requests while some come: after each turn they rest for twice
// as long. A turn is measured on the wall, so that whoever waits for a core meanwhile counts as well: the
// busier the machine, the less of it a backfill takes. While it rests Go's scheduler looks at the network,
// which it does else only every 10 ms when all processors have work.
const (
	turn        = 100 * time.Microsecond // of work, at least
	rests       = 2                      // turns that follow it
	longestTurn = 10 * time.Millisecond  // that is paid for
	glance      = 8 << 10                // bytes worked on between looks at the clock

	lately = time.Second // small requests still come
	notice = lately / 10 // between two notes that they do
)

// courtesy is what requests know of each other.
type courtesy struct {
	_     [64]byte     // every small request reads what follows, and hardly one writes it
	small atomic.Int64 // when one came, in microseconds since 1970; early by up to notice
	_     [56]byte
	owed  atomic.Int64 // nanoseconds of work that nobody has rested for
}

// came notes a small request, micros after 1970.
func (c *courtesy) came(micros int64) {
	if micros-c.small.Load() >= notice.Microseconds() {
		c.small.Store(micros)
	}
}

// asked tells whether small requests come.
func (c *courtesy) asked(now time.Time) bool {
	return now.UnixMicro()-c.small.Load() < (lately + notice).Microseconds()
}

// turns are the work on one large body.
type turns struct {
	s     *Server
	since time.Time // the turn began; zero: it has not
	until time.Time // there is time for rests; zero: always
	joint bool      // what is unpaid goes from one request to the next: small batches are a backfill, too
	bytes int       // worked on since the last look at the clock
}

// begin starts a turn, with what those before have left unpaid.
func (t *turns) begin(now time.Time) {
	t.since = now
	if t.joint {
		t.since = now.Add(-time.Duration(t.s.courtesy.owed.Swap(0)))
		t.look(now)
	}
}

// worked says that n more bytes are done, and rests if it is time.
func (t *turns) worked(n int) {
	if t.bytes += n; t.bytes >= glance {
		t.bytes = 0
		t.look(time.Now())
	}
}

func (t *turns) look(now time.Time) {
	if t.since.IsZero() {
		t.since = now
	}
	worked := min(now.Sub(t.since), longestTurn)
	if worked < turn {
		return
	}
	if t.s.courtesy.asked(now) && (t.until.IsZero() || now.Before(t.until)) {
		time.Sleep(rests * worked)
		rested := time.Now()
		t.s.metrics.rested.Add(rested.Sub(now).Seconds())
		now = rested
	}
	t.since = now
}

// end says that work stops for now; what is unpaid is left to whoever begins next.
func (t *turns) end() {
	if t.joint {
		t.s.courtesy.owed.Add(int64(min(time.Since(t.since), longestTurn)))
	}
}
