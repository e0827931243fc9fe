package edge_test

import (
	"os"
	"slices"
	"testing"

	"github.com/keystone-cdp/keystone/bench/load"
)

// envGuard turns the guard on: `make guard`. It is no test of `make test`, where everything shares
// the cores.
const envGuard = "KEYSTONE_BENCH_GUARD"

// slack is how much worse than the ratio reached a change may make it.
const slack = 1.15

// TestEdgeKeepsItsRatio holds the edge's processor time for an event, as a multiple of what a server
// takes in the same run that only answers, to what has been reached. The multiple itself moves with the
// machine: from 2.4 to 3.6 for single events within one day on one shared virtual machine. So a try is
// the second best of its rounds, and there are many: noise makes a try worse, never all of them.
func TestEdgeKeepsItsRatio(t *testing.T) {
	if os.Getenv(envGuard) == "" {
		t.Skipf("%s is not set: make guard", envGuard)
	}
	const tries, rounds = 10, 5
	for name, reached := range map[string]float64{
		"single/64":         2.5,
		"single/256":        2.2,
		"single/64/rate":    1.5,
		"single/256/rate":   1.43,
		"batch/1000/ndjson": 0.28,
	} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t, scenarios[slices.IndexFunc(scenarios, func(c scenario) bool { return c.name == name })])
			for try := 1; ; try++ {
				ratios := make([]float64, rounds)
				for i := range ratios {
					var floor, real load.Report
					p.round(t, uint64(try*rounds+i), &floor, &real)
					ratios[i] = perEvent(&real) / perEvent(&floor)
				}
				slices.Sort(ratios)
				t.Logf("try %d: %.2f × a no-op request, of %.2f", try, ratios[1], ratios)
				if ratios[1] <= slack*reached {
					return
				}
				if try == tries {
					t.Fatalf("an event costs more than %.2f × %.2f no-op requests", slack, reached)
				}
			}
		})
	}
}
