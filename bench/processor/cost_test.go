package processor_test

import (
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/metric"
)

// cost is what a round costs, or several together.
type cost struct {
	at        time.Time
	took      time.Duration
	processor time.Duration // of CPU; the broker is in this process
	store     time.Duration // of CPU
	wal       int64         // bytes
	records   int
	retries   float64
	batches   metric.Buckets // seconds
}

// read is the clocks and counters as they are.
func (r *bench) read() (f cost) {
	r.Helper()
	f.at = time.Now()
	f.processor = machine.CPU()
	var err error
	f.store, err = machine.ChildrenCPU()
	r.must(err)
	r.must(r.pool.QueryRow(r.Context(), "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::INT8").Scan(&f.wal))
	return f
}

func (f cost) minus(before cost) cost {
	return cost{took: f.at.Sub(before.at), processor: f.processor - before.processor, store: f.store - before.store, wal: f.wal - before.wal}
}

func (f *cost) add(g cost) {
	f.took += g.took
	f.processor += g.processor
	f.store += g.store
	f.wal += g.wal
	f.records += g.records
	f.retries += g.retries
	f.batches = f.batches.Add(g.batches)
}

func (f *cost) report(b *testing.B, s scenario) {
	b.Helper()
	n := float64(f.records)
	rate := n / f.took.Seconds()
	// Microseconds per event are seconds per million.
	processor, store := float64(f.processor.Microseconds())/n, float64(f.store.Microseconds())/n
	p50, p99 := 1e3*f.batches.Quantile(0.5), 1e3*f.batches.Quantile(0.99)
	b.ReportMetric(0, "ns/op") // a round is no operation
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(processor, "cpu-s/Mevent")
	b.ReportMetric(store, "store-cpu-s/Mevent")
	b.ReportMetric(float64(f.wal)/n, "wal-B/event")
	b.ReportMetric(p50, "p50-ms/batch")
	b.ReportMetric(p99, "p99-ms/batch")
	machine.Print("processor "+s.mix.Name, "%d partitions, %d profiles before, %g events/s when it was written: %.0f events/s; CPU per million events: processor and broker %.1f s, state store %.1f s; "+
		"%.0f bytes of WAL per event; batches p50 %.0f ms, p99 %.0f ms; %.0f retries per 1000 batches",
		s.partitions, s.profiles, s.rate, rate, processor, store, float64(f.wal)/n, p50, p99, 1000*f.retries/float64(max(1, f.batches.Count())))
}
