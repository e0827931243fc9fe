// Package metric reads a stage's own counters, for benchmarks that wait for it.
package metric

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Sum is a counter's or gauge's value, added up over all its label sets; 0 where it is not there yet.
func Sum(tb testing.TB, from prometheus.Gatherer, name string) (sum float64) {
	tb.Helper()
	each(tb, from, name, func(m *dto.Metric) { sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() })
	return sum
}

func each(tb testing.TB, from prometheus.Gatherer, name string, take func(*dto.Metric)) {
	tb.Helper()
	families, err := from.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				take(m)
			}
		}
	}
}

// Buckets is a histogram: how many observations were at most so much.
type Buckets struct {
	bounds []float64
	counts []uint64 // cumulative; one for each bound
	total  uint64
}

// Histogram is one with all its labels' observations together.
func Histogram(tb testing.TB, from prometheus.Gatherer, name string) (all Buckets) {
	tb.Helper()
	each(tb, from, name, func(m *dto.Metric) {
		one := Buckets{total: m.GetHistogram().GetSampleCount()}
		for _, b := range m.GetHistogram().GetBucket() {
			one.bounds, one.counts = append(one.bounds, b.GetUpperBound()), append(one.counts, b.GetCumulativeCount())
		}
		all = all.Add(one)
	})
	return all
}

// Add is both together: of histograms with the same bounds, or none.
func (b Buckets) Add(c Buckets) Buckets {
	if b.total == 0 {
		return c
	}
	sum := Buckets{bounds: b.bounds, counts: slices.Clone(b.counts), total: b.total + c.total}
	for i := range c.counts {
		sum.counts[i] += c.counts[i]
	}
	return sum
}

// Count is how many observations there were.
func (b Buckets) Count() int { return int(b.total) }

// Quantile is below which that share of the observations lies, taking them for spread evenly within a
// bucket; the last bound for what lies beyond.
func (b Buckets) Quantile(q float64) float64 {
	rank := q * float64(b.total)
	var below uint64
	lower := 0.0
	for i, n := range b.counts {
		if float64(n) >= rank && n > below {
			return lower + (b.bounds[i]-lower)*(rank-float64(below))/float64(n-below)
		}
		below, lower = n, b.bounds[i]
	}
	return lower
}
