// Package metric reads a stage's own counters, for benchmarks that wait for it.
package metric

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Sum is a counter's or gauge's value, added up over all its label sets; 0 where it is not there yet.
func Sum(tb testing.TB, from prometheus.Gatherer, name string) (sum float64) {
	tb.Helper()
	families, err := from.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}
