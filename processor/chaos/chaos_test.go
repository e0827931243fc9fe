// Package chaos_test is the campaign against the processor: several whole processors, some of them
// processes of their own, read a log while everything around them fails, again and again, in all the
// ways the specification names (cases 56 to 61). When the faults stop, the state must be to the last
// byte what two other writings of the rules make of the same log without any fault.
//
// The seed fixes the log, the order of what happens to processors and the dice of each of them; which
// statement of which processor meets which throw is up to the machine, as in life. A failure names the
// seed to run again.
package chaos_test

import (
	"flag"
	"os"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// The defaults are the short campaign, which `make test` runs. `make chaos` is the long one.
var (
	flagEvents   = flag.Int("chaos.events", 6_000, "events in the log")
	flagFaults   = flag.Int64("chaos.faults", 200, "faults to inject, at least")
	flagSeed     = flag.Uint64("chaos.seed", 1, "seed of the log and of the dice")
	flagRate     = flag.Float64("chaos.rate", 1, "how often things go wrong, as a factor")
	flagRounds   = flag.Int("chaos.rounds", 1, "how often everything happens to processors that may")
	flagChildren = flag.Int("chaos.children", 1, "processors that are processes of their own, and are killed")
	flagOutage   = flag.Duration("chaos.outage", 0, "how long the store is down once, beside shorter times; 0: not at all")
	flagLong     = flag.Bool("chaos.long", false, "every class of faults must have been injected, every kill included")
)

func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	c := newCampaign(t)
	t.Logf("seed %d; again: go test -count=1 -timeout 60m -v -run '^TestChaos$' ./processor/chaos -args -chaos.seed=%d -chaos.events=%d -chaos.rounds=%d -chaos.children=%d -chaos.rate=%g -chaos.outage=%s",
		c.seed, c.seed, *flagEvents, *flagRounds, *flagChildren, c.rate, *flagOutage)
	c.run()
	c.settle()
	t.Logf("injected in %s over %d events:\n%s", c.took(), *flagEvents, c.tally)
	c.compare()
	c.compareChanges()
	if n := c.tally.total(); n < *flagFaults {
		t.Errorf("only %d faults, %d were wanted", n, *flagFaults)
	}
	if *flagLong {
		if never := c.tally.missing(); len(never) > 0 {
			t.Errorf("never injected: %q", never)
		}
		if spared := c.tally.spared(1000); len(spared) > 0 {
			t.Errorf("no serialization failure at: %q", spared)
		}
	}
}
