package edge

import (
	"sync/atomic"
	"time"
)

// Large bodies leave the processor to small requests while some come: after each turn of work they rest for
// twice as long. A turn is measured on the wall, so that whoever waits for a core meanwhile counts as well: the
// busier the machine, the less of it a backfill takes. While it rests Go's scheduler looks at the network,
// which it does else only every 10 ms when all processors have work. Where the cores have nothing to do a rest
// lasts a millisecond, as timers are not finer then, and pays for one more turn. That leaves a backfill more than
// what comes after the log can take.
const (
	turn        = 100 * time.Microsecond // of work, at least
	rests       = 2                      // turns that follow it
	longestTurn = 10 * time.Millisecond  // that is paid for
	credit      = turn                   // of work that a rest which took too long pays for, at most
	glance      = 8 << 10                // bytes cut or judged between looks at the clock

	// Bytes that take a turn to come, and to decompress: the clock would count waiting for the client.
	portionRead     = 256 << 10
	portionInflated = 32 << 10

	lately = time.Second // small requests still come
	notice = lately / 10 // between two notes that they do
)

// courtesy is what requests know of each other.
type courtesy struct {
	now   func() time.Time
	sleep func(time.Duration)
	_     [64]byte     // every small request reads what follows, and hardly one writes it
	small atomic.Int64 // when one came, in microseconds since 1970; early by up to notice
	_     [120]byte
	owed  atomic.Int64 // nanoseconds of work that nobody has rested for
	_     [120]byte
}

// came notes a small request, micros after 1970.
func (c *courtesy) came(micros int64) {
	if apart(micros, c.small.Load()) >= notice {
		c.small.Store(micros)
	}
}

// asked tells whether small requests come.
func (c *courtesy) asked(now time.Time) bool {
	return apart(now.UnixMicro(), c.small.Load()) < lately+notice
}

// apart is how far two times are from each other, in microseconds since 1970; clocks may be set back.
func apart(x, y int64) time.Duration {
	if x < y {
		x, y = y, x
	}
	return time.Duration(x-y) * time.Microsecond
}

// turns are the work on one body. The zero value with its server is a small one's, which has none.
type turns struct {
	s     *Server
	large bool
	since time.Time     // the turn began, or will when too long a rest is used up
	left  time.Duration // that it may rest yet
	bytes int           // worked on since the last look at the clock
	came  int           // bytes since the last portion
}

// admit says that the body is a large one: of a backfill, or a server's.
func (t *turns) admit() {
	if !t.large {
		t.large, t.since, t.left = true, t.s.courtesy.now(), t.s.cfg.BulkWithin/2
	}
}

// begin starts a turn with what others have left unpaid: small batches are a backfill, too.
func (t *turns) begin() {
	if t.large {
		now := t.s.courtesy.now()
		t.since = now.Add(-time.Duration(t.s.courtesy.owed.Swap(0)))
		t.look(now)
	}
}

// worked says that n more bytes are done, and rests if it is time.
func (t *turns) worked(n int) {
	if t.bytes += n; t.bytes >= glance && t.large {
		t.bytes = 0
		t.look(t.s.courtesy.now())
	}
}

// arrived says that n more bytes have come.
func (t *turns) arrived(n int) { t.portion(n, portionRead) }

// inflated says that n more bytes are decompressed.
func (t *turns) inflated(n int) { t.portion(n, portionInflated) }

func (t *turns) portion(n, size int) {
	if t.came += n; t.came >= size && t.large {
		t.came = 0
		now := t.s.courtesy.now()
		if t.since.Before(now) {
			t.since = now
		}
		t.since = t.since.Add(-turn)
		t.look(now)
	}
}

// look rests if a turn is over.
func (t *turns) look(now time.Time) {
	worked := min(now.Sub(t.since), longestTurn)
	if worked < turn {
		return
	}
	t.since = now
	if rest := rests * worked; rest <= t.left && t.s.courtesy.asked(now) {
		t.s.courtesy.sleep(rest)
		woken := t.s.courtesy.now()
		rested := woken.Sub(now)
		t.s.metrics.rested.Add(rested.Seconds())
		t.left -= rested
		t.since = woken.Add(min(max(rested-rest, 0)/rests, credit))
	}
}

// end says that work stops for now; what is unpaid is left to whoever begins next.
func (t *turns) end() {
	if t.large {
		now := t.s.courtesy.now()
		t.s.courtesy.owed.Add(int64(min(max(now.Sub(t.since), 0), longestTurn)))
		t.since = now
	}
}
