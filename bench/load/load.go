// Package load sends events to a running edge and measures what becomes of them: an open-loop load
// generator, whose latencies count from when an event was due and not from when the generator got
// round to it, so that a server that stalls cannot hide it.
//
// It counts at its own end; Config.ServerCount adds the server's. Nothing here starts before Run,
// and everything has ended when Run returns.
package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/keystone-cdp/keystone/bench/machine"
)

// Source hands out the events: it appends the next one's JSON, without line breaks, to dst, and
// names the lane whose order it belongs to. It answers false at the end. One goroutine calls it.
type Source func(dst []byte) (out []byte, lane uint64, ok bool)

// queuedPerConnection bounds the requests that wait for a connection. A rate that the server cannot
// follow fills them; then the source waits too, and the wait counts as latency.
const queuedPerConnection = 16

// job is one request. It wanders from free to a queue to a worker and back.
type job struct {
	body   []byte
	events int
	due    time.Time
}

type runner struct {
	cfg    Config
	target *url.URL
	free   chan *job
	queues []chan *job
	start  time.Time
}

// Run sends all of src. The report is good also beside an error: a context that ended, or a server
// that could not be counted. What the server refuses is in the report and no error.
func Run(ctx context.Context, cfg Config, src Source) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	target, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	report := newReport(cfg)
	before, err := observe(ctx, cfg)
	if err != nil {
		return report, err
	}
	r := newRunner(cfg, target)
	workers := make([]*worker, cfg.Connections)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = newWorker(r, r.queues[i%len(r.queues)])
		wg.Go(workers[i].connect)
	}
	wg.Wait()
	r.start = time.Now()
	cpu := machine.CPU()
	for _, w := range workers {
		wg.Go(func() { w.run(ctx) })
	}
	report.Sent = r.dispatch(ctx, src)
	for _, q := range r.queues {
		close(q)
	}
	wg.Wait()

	report.Elapsed = time.Since(r.start)
	report.ClientCPU = machine.CPU() - cpu
	for _, w := range workers {
		report.add(w)
	}
	after, err := observe(context.WithoutCancel(ctx), cfg)
	report.Received, report.ServerCPU = after.events-before.events, after.cpu-before.cpu
	return report, errors.Join(ctx.Err(), err)
}

func newRunner(cfg Config, target *url.URL) *runner {
	r := &runner{cfg: cfg, target: target}
	queues, depth := 1, queuedPerConnection*cfg.Connections
	if cfg.Ordered {
		queues, depth = cfg.Connections, queuedPerConnection
	}
	for range queues {
		r.queues = append(r.queues, make(chan *job, depth))
	}
	// One more for each connection in work, and for each queue being filled.
	jobs := queues*depth + cfg.Connections + queues
	r.free = make(chan *job, jobs)
	for range jobs {
		r.free <- &job{}
	}
	return r
}

// dispatch hands out requests when they are due, and answers how many events they hold.
func (r *runner) dispatch(ctx context.Context, src Source) int64 {
	open := make([]*job, len(r.queues))
	var sent, taken int64
	var scratch []byte
	for ctx.Err() == nil {
		body, lane, ok := src(scratch[:0])
		if !ok {
			break
		}
		scratch = body
		i := lane % uint64(len(r.queues))
		if open[i] == nil {
			open[i] = <-r.free // workers give back every job, so this always ends
			open[i].body, open[i].events = open[i].body[:0], 0
		}
		j := open[i]
		if r.cfg.Path == PathBatch && j.events > 0 {
			j.body = append(j.body, '\n')
		}
		j.body = append(j.body, body...)
		j.events++
		taken++
		r.pace(ctx, j, taken)
		if j.events == r.cfg.BatchEvents {
			sent += int64(j.events)
			open[i] = nil
			r.queues[i] <- j
		}
	}
	for i, j := range open {
		if j != nil && ctx.Err() == nil {
			sent += int64(j.events)
			r.queues[i] <- j
		}
	}
	return sent
}

// pace waits until the n-th event is due, where there is a rate.
func (r *runner) pace(ctx context.Context, j *job, n int64) {
	if r.cfg.Rate == 0 {
		return
	}
	j.due = r.start.Add(time.Duration(float64(n) / r.cfg.Rate * float64(time.Second)))
	if wait := time.Until(j.due); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

type observation struct {
	events int64
	cpu    time.Duration
}

// observe asks the server's end.
func observe(ctx context.Context, cfg Config) (o observation, err error) {
	if cfg.ServerCount != nil {
		if o.events, err = cfg.ServerCount(ctx); err != nil {
			return o, fmt.Errorf("count the server's events: %w", err)
		}
	}
	if cfg.ServerPID != 0 {
		o.cpu, err = machine.ProcessCPU(cfg.ServerPID)
	}
	return o, err
}
