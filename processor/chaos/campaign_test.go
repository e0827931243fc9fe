package chaos_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

const (
	// patience bounds waiting for anything that is not itself a fault.
	patience = 2 * time.Minute
	// look is how often the campaign looks where things stand.
	look = 20 * time.Millisecond
	// outage is how long the store or the broker is down, but for the long one.
	outage = time.Second
	// pauseAtMost is how long a stopped child is left so: one that was stopped in mid-transaction holds
	// its partition's row, and nobody can take that over.
	pauseAtMost = 4 * sessionTimeout

	inProcess = 3
)

// campaign is the whole of it. All but the proxies' and the broker's callbacks is done by the test's
// goroutine.
type campaign struct {
	t      *testing.T
	seed   uint64
	rate   float64
	rng    *rand.Rand
	began  time.Time
	tally  *tally
	log    map[lane][]entry
	dsn    string
	pool   *pgxpool.Pool // past all proxies
	states *store.Store  // likewise
	broker *faultyBroker

	storeFaults atomic.Bool // at random statements
	members     []*member

	positions map[lane]owned
	deck      []action
	doneWhen  []func() bool // begun and not over: each is asked at every look
	down      bool          // there is an outage

	want *expected        // of compare
	got  *applytest.Store // likewise
}

func newCampaign(t *testing.T) *campaign {
	t.Helper()
	c := &campaign{t: t, seed: *flagSeed, rate: *flagRate, rng: rand.New(rand.NewPCG(*flagSeed, 3)), began: time.Now(), tally: newTally(),
		dsn: enginetest.Store(t)}
	if err := sql.Migrate(t.Context(), c.dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.pool, err = sql.Open(t.Context(), c.dsn, 4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.pool.Close)
	if c.states, err = store.New(store.DefaultConfig(), c.pool); err != nil {
		t.Fatal(err)
	}
	c.makeTenants()
	c.broker = startBroker(t, c.seed, c.rate)
	c.log = makeLog(*flagEvents, c.seed)
	c.broker.fill(t, c.log)
	return c
}

// makeTenants makes those of applytest's logs, under their ids.
func (c *campaign) makeTenants() {
	c.t.Helper()
	settings := applytest.Settings()
	for slug, tenant := range map[string][16]byte{"lenient": applytest.Lenient, "strict": applytest.Strict} {
		text := ""
		if s := settings[tenant]; s != nil {
			b, err := json.Marshal(s)
			if err != nil {
				c.t.Fatal(err)
			}
			text = string(b)
		}
		if _, err := c.pool.Exec(c.t.Context(), sql.Statement("tenant_create"), tenant, slug, slug, text, time.Now()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// run is the time of faults: until all of the log is processed.
func (c *campaign) run() {
	c.t.Helper()
	for i := range inProcess {
		c.newMember(fmt.Sprint("here-", i)).join()
	}
	for i := range *flagChildren {
		c.newMember(fmt.Sprint("child-", i))
	}
	c.storeFaults.Store(true)
	c.broker.on.Store(true)
	c.shuffle()
	total, reported := int64(*flagEvents), int64(0)
	per := total / int64(len(c.deck)+1) // events between two actions
	next := per
	moved, last := time.Now(), int64(-1)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		done := c.progress()
		if done >= total {
			return
		}
		if done != last || c.down {
			moved, last = time.Now(), done
		} else if time.Since(moved) > patience {
			c.stuck(fmt.Sprintf("nothing moves at %d of %d events", done, total))
		}
		if done >= reported+total/10 {
			reported = done
			c.t.Logf("%7d of %d events, %6d faults, %s", done, total, c.faults(), c.took())
		}
		c.careForChildren()
		c.goOn()
		if done >= next && len(c.deck) > 0 && !c.down {
			next += per
			act := c.deck[0]
			c.deck = c.deck[1:]
			act(c)
		}
		<-tick.C
	}
}

// goOn asks what was begun whether it is over; what is begun meanwhile is asked the next time.
func (c *campaign) goOn() {
	begun := c.doneWhen
	c.doneWhen = nil
	for _, over := range begun {
		if !over() {
			c.doneWhen = append(c.doneWhen, over)
		}
	}
}

func (c *campaign) took() time.Duration { return time.Since(c.began).Round(100 * time.Millisecond) }

// progress is how many records are processed.
func (c *campaign) progress() (done int64) {
	c.t.Helper()
	c.positions = dumpPositions(c.t, c.pool)
	for l, p := range c.positions {
		if end := int64(len(c.log[l])); p.next > end {
			c.t.Fatalf("%s is at %d, its end is %d", l, p.next, end)
		}
		done += p.next
	}
	return done
}

// faults brings the tally up to date with what the broker did by itself.
func (c *campaign) faults() int64 {
	c.tally.mu.Lock()
	for x, h := range c.broker.random {
		c.tally.injected[x] = int64(h.Hits())
	}
	c.tally.mu.Unlock()
	return c.tally.total()
}

// careForChildren buries and replaces those that died.
func (c *campaign) careForChildren() {
	c.t.Helper()
	for _, m := range c.members[inProcess:] {
		if m.child != nil {
			select {
			case <-m.child.process.Done():
				m.buried()
			default:
				continue
			}
		}
		step := kills[0]
		kills = append(kills[1:], step)                      // one after the other, so that all have their turn
		m.spawn(step, c.rng.IntN(max(20, *flagEvents/2500))) // in the long campaign they live longer
	}
	for _, m := range c.members[:inProcess] {
		if m.processor != nil {
			if err := m.processor.Err(); err != nil {
				c.stuck(fmt.Sprintf("%s met what only a person can mend: %v", m.name, err))
			}
		}
	}
}

// settle ends all faults and waits until everything is processed, produced and reported.
func (c *campaign) settle() {
	c.t.Helper()
	c.storeFaults.Store(false)
	c.broker.on.Store(false)
	c.faults()
	c.storeUp()
	c.broker.gate.setDown(false)
	for _, m := range c.members[inProcess:] {
		if m.child != nil {
			m.resume()
			m.retire()
		}
	}
	for _, m := range c.members[:inProcess] {
		if m.processor == nil {
			m.join()
		}
	}
	c.await("the outbox to be empty", func() bool { return count(c.t, c.pool, "outbox") == 0 })
	c.await("the group's offsets", func() bool { return c.groupStands() == "" })
	for _, m := range c.members[:inProcess] {
		m.leave(false)
	}
	if behind := c.groupStands(); behind != "" {
		c.t.Errorf("the group's offsets: %s", behind)
	}
}

// groupStands tells where the group's offsets are not at the end of the log.
func (c *campaign) groupStands() (behind string) {
	c.t.Helper()
	client := c.broker.client(c.t)
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(c.t.Context(), consume.DefaultConfig().Group)
	if err != nil {
		return err.Error()
	}
	for _, l := range lanes {
		o, ok := offsets.Lookup(l.topic, l.partition)
		if end := int64(len(c.log[l])); !ok || o.At != end {
			behind += fmt.Sprintf("%s at %d of %d ", l, o.At, end)
		}
	}
	return behind
}

func (c *campaign) await(what string, so func() bool) {
	c.t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			c.stuck("waited in vain for " + what)
		}
	}
}

// stuck ends the test with all that may tell why nothing happens.
func (c *campaign) stuck(what string) {
	c.t.Helper()
	_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
	each(c.t, c.pool, `SELECT concat_ws(' ', pid, state, wait_event_type, wait_event, now() - xact_start, pg_blocking_pids(pid), left(query, 120))
		FROM pg_stat_activity WHERE datname = current_database()`, func(r pgx.Rows) error {
		var session string
		err := r.Scan(&session)
		c.t.Log(session)
		return err
	})
	for _, m := range c.members {
		if x := m.child; x != nil {
			x.process.Signal(syscall.SIGCONT)
			x.process.Signal(syscall.SIGQUIT) // Go says what it was doing
			<-x.process.Done()
			c.t.Logf("%s, stopped %s, to die: %s after %d\n%s", m.name, x.paused, m.step, m.after, x.output)
		}
	}
	for l, p := range c.positions {
		c.t.Logf("%s at %d of %d, epoch %d of %s", l, p.next, len(c.log[l]), p.epoch, p.owner)
	}
	c.t.Fatalf("%s, after %s and %d faults:\n%s", what, c.took(), c.faults(), c.tally)
}
