package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keystone-cdp/keystone/bench/machine"
)

// Report is what a run measured. Sent = Acknowledged + Rejected + Failed, all in events.
type Report struct {
	Config   Config
	Machine  string
	Elapsed  time.Duration
	Requests int64 // attempts included
	Retries  int64

	Sent         int64
	Acknowledged int64
	Rejected     int64
	Failed       int64 // neither: no answer, or none but "later", until the time was over
	Received     int64 // by the server's count, where Config.ServerCount is given

	Broken    int64            // attempts that ended without an answer
	Statuses  map[int]int64    // of answers
	Codes     map[string]int64 // of refusals
	Latency   Histogram        // of acknowledged requests, from when they were due
	ClientCPU time.Duration
	ServerCPU time.Duration // where Config.ServerPID is given
}

func newReport(cfg Config) *Report {
	return &Report{Config: cfg, Machine: machine.Line(), Statuses: map[int]int64{}, Codes: map[string]int64{}}
}

func (r *Report) add(w *worker) {
	r.Requests += w.requests
	r.Retries += w.retries
	r.Acknowledged += w.acknowledged
	r.Rejected += w.rejected
	r.Failed += w.failed
	r.Broken += w.broken
	r.Latency.Add(&w.latency)
	for status, n := range w.statuses {
		r.Statuses[status] += n
	}
	for code, n := range w.codes {
		r.Codes[code] += n
	}
}

// EventsPerSecond is the rate of acknowledged events.
func (r *Report) EventsPerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Acknowledged) / r.Elapsed.Seconds()
}

// String is the report in a few lines, the machine first.
func (r *Report) String() string {
	var b strings.Builder
	loop := "closed loop"
	if r.Config.Rate > 0 {
		loop = fmt.Sprintf("open loop, %.0f events/s", r.Config.Rate)
	}
	fmt.Fprintf(&b, "machine   %s\n", r.Machine)
	fmt.Fprintf(&b, "load      %s, %d connections, %d events a request, %s\n", r.Config.Path, r.Config.Connections, r.Config.BatchEvents, loop)
	fmt.Fprintf(&b, "events    %d sent, %d acknowledged, %d rejected, %d failed", r.Sent, r.Acknowledged, r.Rejected, r.Failed)
	if r.Config.ServerCount != nil {
		fmt.Fprintf(&b, "; %d by the server's count", r.Received)
	}
	fmt.Fprintf(&b, "\nrate      %.0f events/s, %.0f requests/s for %.2f s\n", r.EventsPerSecond(), float64(r.Requests)/max(r.Elapsed.Seconds(), 1e-9), r.Elapsed.Seconds())
	fmt.Fprintf(&b, "requests  %d, of which %d again, %d without an answer", r.Requests, r.Retries, r.Broken)
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		fmt.Fprintf(&b, ", %d × %d", r.Statuses[status], status)
	}
	for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
		fmt.Fprintf(&b, ", %d %s", r.Codes[code], code)
	}
	l := &r.Latency
	fmt.Fprintf(&b, "\nlatency   p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", round(l.Quantile(.5)), round(l.Quantile(.9)), round(l.Quantile(.99)), round(l.Quantile(.999)), round(l.Max()))
	fmt.Fprintf(&b, "cpu       client %.2f s, %.1f µs/event", r.ClientCPU.Seconds(), perEvent(r.ClientCPU, r.Acknowledged))
	if r.Config.ServerPID != 0 {
		fmt.Fprintf(&b, "; server %.2f s, %.1f µs/event", r.ServerCPU.Seconds(), perEvent(r.ServerCPU, r.Acknowledged))
	}
	b.WriteByte('\n')
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// perEvent is microseconds.
func perEvent(d time.Duration, events int64) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(max(events, 1))
}
