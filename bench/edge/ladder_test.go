package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/ingest"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Rungs between a server that only answers and the edge.
const (
	roleLadder = "ladder"
	envRung    = "KEYSTONE_BENCH_RUNG"

	rungBody = "the body is streamed" // and copied, and that is all
	rungWait = "and waits"            // for company and then as long as a log takes, without a log
	rungLog  = "and is in the log"    // as the edge's lane puts it there, by a key, without headers
)

// ackAfter is what the rung that has no log waits: what a group of 29 waited for its acknowledgement.
const ackAfter = 400 * time.Microsecond

// step is what a rung does with an event that has come, until it may be answered.
type step interface {
	take(h *held) error
	stop() error
}

// held is what a rung keeps of a request.
type held struct {
	body    []byte
	record  kgo.Record
	records [1]*kgo.Record
}

func serveLadder() (string, func() error, error) {
	ingest.TuneRuntime() // as the edge does
	var s step = bodyOnly{}
	var err error
	switch os.Getenv(envRung) {
	case rungWait:
		s = newCompany()
	case rungLog:
		s, err = newLogged()
	}
	if err != nil {
		return "", nil, err
	}
	pool := sync.Pool{New: func() any { return &held{body: make([]byte, 0, 4<<10)} }}
	server := &fasthttp.Server{StreamRequestBody: true, LazyRequestTime: true, Handler: func(ctx *fasthttp.RequestCtx) {
		h := pool.Get().(*held)
		n, err := io.ReadFull(ctx.RequestBodyStream(), h.body[:ctx.Request.Header.ContentLength()])
		if h.body = h.body[:n]; err == nil {
			err = s.take(h)
		}
		if err != nil {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		}
		pool.Put(h)
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`{"status":"ok","message_id":"00000000-0000-0000-0000-000000000000"}`)
	}}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return "http://" + l.Addr().String(), func() error {
		return errors.Join(server.Shutdown(), <-done, s.stop())
	}, nil
}

type bodyOnly struct{}

func (bodyOnly) take(*held) error { return nil }
func (bodyOnly) stop() error      { return nil }

// company lets a group wait as if a log took it, while the next gathers.
type company struct {
	mu     sync.Mutex
	size   int
	gone   chan struct{} // closed when the group that gathers may go
	busy   bool
	ready  chan struct{}
	sender sync.WaitGroup
}

func newCompany() *company {
	c := &company{gone: make(chan struct{}), ready: make(chan struct{}, 1)}
	c.sender.Go(func() {
		for range c.ready {
			for runtime.Gosched(); c.group(); runtime.Gosched() {
			}
		}
	})
	return c
}

func (c *company) group() bool {
	c.mu.Lock()
	gone := c.gone
	c.busy = c.size > 0
	if c.busy {
		c.size, c.gone = 0, make(chan struct{})
	}
	busy := c.busy
	c.mu.Unlock()
	if busy {
		time.Sleep(ackAfter) // this is what is measured: what waiting costs
		close(gone)
	}
	return busy
}

func (c *company) take(*held) error {
	c.mu.Lock()
	c.size++
	gone, idle := c.gone, !c.busy
	c.mu.Unlock()
	if idle {
		select {
		case c.ready <- struct{}{}:
		default:
		}
	}
	<-gone
	return nil
}

func (c *company) stop() error {
	close(c.ready)
	c.sender.Wait()
	return nil
}

// logged puts the event into the log.
type logged struct{ lane *produce.Lane }

func newLogged() (step, error) {
	files, cfg := spool.DefaultConfig(), produce.DefaultConfig()
	files.Name, files.Dir = "ladder", os.Getenv(envDir)
	cfg.Brokers = strings.Split(os.Getenv(envBrokers), ",")
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	sp, err := spool.Open(files, spool.OS(), log, reg)
	if err != nil {
		return nil, err
	}
	lane, err := produce.NewLane(cfg, event.TopicEvents, sp, log, reg)
	if err != nil {
		return nil, errors.Join(err, sp.Stop(context.Background()))
	}
	return logged{lane}, lane.Start(context.Background())
}

func (l logged) take(h *held) error {
	h.record = kgo.Record{Key: h.body[67:103], Value: h.body, Timestamp: time.Now()} // where small has the anonymous id
	h.records[0] = &h.record
	if o := l.lane.Wait(l.lane.Submit(h.records[:])); len(o.Logged) == 0 {
		return fmt.Errorf("not logged: %w", o.Err)
	}
	return nil
}

func (l logged) stop() error { return l.lane.Stop(context.Background()) }

// BenchmarkLadder is where the processor time of a single event goes, rung by rung from a server that only
// answers up to the edge. They take turns, on one log. One iteration is a round of each.
func BenchmarkLadder(b *testing.B) {
	for _, connections := range []int{64, 256} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			brokers := envBrokers + "=" + strings.Join(startLog(b), ",")
			names := []string{"it is answered", rungBody, rungWait, rungLog, "the edge"}
			configs, sums := make([]load.Config, len(names)), make([]load.Report, len(names))
			for i, name := range names {
				role := roleLadder
				switch i {
				case 0:
					role = roleNoop
				case len(names) - 1:
					role = roleEdge
				}
				configs[i] = load.DefaultConfig()
				configs[i].Key, configs[i].Connections = edge.TrackerKey, connections
				configs[i].URL, configs[i].ServerPID = child(b, role, brokers, envRung+"="+name, envDir+"="+filepath.Join(b.TempDir(), "spool"))
			}
			for round := 0; b.Loop(); round++ {
				for i := range names {
					i = (i + round) % len(names)
					run(b, &sums[i], configs[i], small(b, uint64(round), events), events)
				}
			}
			for i, name := range names {
				machine.Print(fmt.Sprintf("ladder %d: %s", connections, name), "%.1f µs of CPU per event, %.2f × where it is only answered, %.0f events/s",
					perEvent(&sums[i]), perEvent(&sums[i])/perEvent(&sums[0]), sums[i].EventsPerSecond())
			}
			b.ReportMetric(perEvent(&sums[len(sums)-1])/perEvent(&sums[0]), "×no-op")
		})
	}
}
