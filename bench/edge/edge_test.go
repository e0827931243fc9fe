package edge_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/ingest"
	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// The servers run as processes of their own, so that their processor time is theirs alone: this test
// binary, told by the environment to be one.
const (
	envRole    = "KEYSTONE_BENCH_ROLE"
	envBrokers = "KEYSTONE_BENCH_BROKERS"
	envDir     = "KEYSTONE_BENCH_DIR"
	envProfile = "KEYSTONE_BENCH_PROFILE" // where each server writes a CPU profile; set by hand
	roleEdge   = "edge"
	roleNoop   = "noop"
)

func TestMain(m *testing.M) {
	var serve func() (url string, stop func() error, err error)
	switch os.Getenv(envRole) {
	case roleEdge:
		serve = serveEdge
	case roleNoop:
		serve = serveNoop
	case roleLadder:
		serve = serveLadder
	case roleLog:
		serve = serveLog
	case roleBackfill:
		if err := runBackfill(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	default:
		os.Exit(m.Run())
	}
	url, stop, err := serve()
	if err == nil {
		fmt.Println(url)
		if path := os.Getenv(envProfile); path != "" {
			err = profile(fmt.Sprintf("%s.%s.%d", path, os.Getenv(envRole), os.Getpid()))
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, whatever becomes of it
		err = errors.Join(err, stop())
		pprof.StopCPUProfile()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// profile writes a CPU profile until the server has stopped.
func profile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

func serveEdge() (string, func() error, error) {
	ingest.TuneRuntime()
	e, err := edge.Start(context.Background(), strings.Split(os.Getenv(envBrokers), ","), os.Getenv(envDir), prometheus.NewRegistry())
	if err != nil {
		return "", nil, err
	}
	return e.URL, func() error { return e.Stop(context.Background()) }, nil
}

// serveNoop answers every request as the edge does, and does nothing else: the floor.
func serveNoop() (string, func() error, error) {
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`{"status":"ok","message_id":"00000000-0000-0000-0000-000000000000"}`)
	}, MaxRequestBodySize: 32 << 20}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return "http://" + l.Addr().String(), func() error {
		if err := s.Shutdown(); err != nil {
			return err
		}
		return <-done
	}, nil
}

// child starts a server and answers where it listens.
func child(tb testing.TB, role string, env ...string) (url string, pid int) {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), env...), envRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("stop the %s: %v", role, err)
		}
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("start the %s: %v", role, err)
	}
	return strings.TrimSpace(url), cmd.Process.Pid
}

// events is how many each server takes in one round.
const events = 30_000

// scenario is one kind of load.
type scenario struct {
	name        string
	connections int
	batch       int     // events in a request; 0: one, on the path for one
	rate        float64 // events a second; 0: as fast as they are answered
	shop        bool    // the shop's events instead of those of 400 bytes
	list, gzip  bool
}

// halfLoad is about half of what an edge takes of single events on two cores that it shares with the load
// generator and the broker, in events a second.
const halfLoad = 30_000

var scenarios = []scenario{
	{name: "single/64", connections: 64},
	{name: "single/256", connections: 256},
	{name: "single/64/rate", connections: 64, rate: halfLoad},
	{name: "single/256/rate", connections: 256, rate: halfLoad},
	{name: "single/64/shop", connections: 64, shop: true},
	{name: "batch/100/shop", connections: 32, batch: 100, shop: true},
	{name: "batch/1000/ndjson", connections: 8, batch: 1000},
	{name: "batch/1000/json", connections: 8, batch: 1000, list: true},
	{name: "batch/1000/ndjson-gzip", connections: 8, batch: 1000, gzip: true},
	{name: "batch/1000/json-gzip", connections: 8, batch: 1000, list: true, gzip: true},
}

// pair is a server that only answers and the edge, each in a process of its own, under one scenario.
type pair struct {
	noop, edge load.Config
	source     func(tb testing.TB, seed uint64, n int) load.Source
	events     int // the edge takes in a round
}

func startPair(tb testing.TB, c scenario) *pair {
	tb.Helper()
	p := &pair{source: small, events: events}
	if c.shop {
		p.source = visits
	}
	p.noop = load.DefaultConfig()
	p.noop.Key, p.noop.Connections, p.noop.Rate = edge.TrackerKey, c.connections, c.rate
	p.edge = p.noop
	if c.batch > 0 {
		p.edge.Path, p.edge.Key, p.edge.BatchEvents, p.events = load.PathBatch, edge.IntegrationKey, c.batch, 4*events
		p.edge.List, p.edge.Gzip = c.list, c.gzip
	}
	p.noop.URL, p.noop.ServerPID = child(tb, roleNoop)
	seeds := startLog(tb)
	p.edge.URL, p.edge.ServerPID = child(tb, roleEdge, envBrokers+"="+strings.Join(seeds, ","), envDir+"="+filepath.Join(tb.TempDir(), "spool"))
	return p
}

// round adds to the reports what each server takes for a round of events.
func (p *pair) round(tb testing.TB, seed uint64, floor, real *load.Report) {
	tb.Helper()
	run(tb, floor, p.noop, p.source(tb, seed, events), events)
	run(tb, real, p.edge, p.source(tb, seed, p.events), p.events)
}

// BenchmarkEdge is requests and events per second, and the edge's processor time for each event: as
// such, and as a multiple of what a server takes that only answers. The load generator and the
// broker share the cores.
//
// Where a rate is given both servers get requests at that rate (open loop), and so are equally busy.
// Without one each gets as many as it answers: the server that only answers is then never woken from
// sleep, which is a good part of what a request costs.
func BenchmarkEdge(b *testing.B) {
	for _, c := range scenarios {
		b.Run(c.name, func(b *testing.B) {
			p := startPair(b, c)
			var floor, real load.Report
			for seed := uint64(1); b.Loop(); seed++ {
				p.round(b, seed, &floor, &real)
			}
			report(b, c.name, &floor, &real)
		})
	}
}

// visits is the shop's stream: about 700 bytes an event.
func visits(tb testing.TB, seed uint64, n int) load.Source {
	tb.Helper()
	s := shop.DefaultConfig()
	s.Seed, s.Events, s.Undated = seed, n, true
	stream, err := shop.New(s)
	if err != nil {
		tb.Fatal(err)
	}
	return func(dst []byte) ([]byte, uint64, bool) {
		out, d, ok := stream.Next(dst)
		return out, d.Lane, ok
	}
}

// small is events of 400 bytes, of ten from each visitor.
func small(tb testing.TB, seed uint64, n int) load.Source {
	tb.Helper()
	i := 0
	return func(dst []byte) ([]byte, uint64, bool) {
		if i == n {
			return dst, 0, false
		}
		i++
		dst = fmt.Appendf(dst, `{"message_id":"0193a1b2-7c3d-7e4f-%04x-%012x","anonymous_id":"b0f9c2de-8a1f-4a0e-%04x-%012x",`, seed&0xffff, i, seed&0xffff, i/10)
		return append(dst, `"event_type":"track","event_name":"Product Added","payload":{"product_id":"P-1234","price":100.00,"quantity":2,"currency":"EUR"},`+
			`"context":{"page":{"url":"https://shop.example/p/1234?utm_source=x","title":"Shoe"},"locale":"de-DE","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}}`...), uint64(i), true
	}
}

// startLog starts a broker in this process, with its log on disk, and the edge's topics.
func startLog(tb testing.TB) []string {
	tb.Helper()
	cfg := broker.DefaultConfig()
	cfg.DataDir = filepath.Join(tb.TempDir(), "log")
	log, err := broker.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := log.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := log.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	enginetest.CreateTopics(tb, log.Addrs(), enginetest.Topic{Name: event.TopicEvents, Partitions: 8}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 8})
	return log.Addrs()
}

// run sends a round of n events and adds to sum what it took.
func run(tb testing.TB, sum *load.Report, cfg load.Config, src load.Source, n int) {
	tb.Helper()
	r, err := load.Run(tb.Context(), cfg, src)
	if err != nil || r.Acknowledged != int64(n) {
		tb.Fatalf("%v\n%s", err, r)
	}
	sum.Elapsed += r.Elapsed
	sum.Requests += r.Requests
	sum.Acknowledged += r.Acknowledged
	sum.ServerCPU += r.ServerCPU
	sum.Latency.Add(&r.Latency)
}

// perEvent is a server's processor time for an event, in microseconds.
func perEvent(r *load.Report) float64 {
	return float64(r.ServerCPU.Nanoseconds()) / 1e3 / float64(r.Acknowledged)
}

func report(b *testing.B, name string, floor, real *load.Report) {
	b.Helper()
	requests := float64(real.Requests) / real.Elapsed.Seconds()
	p99 := real.Latency.Quantile(0.99)
	b.ReportMetric(requests, "requests/s")
	b.ReportMetric(real.EventsPerSecond(), "events/s")
	b.ReportMetric(perEvent(real), "cpu-µs/event")
	b.ReportMetric(perEvent(real)/perEvent(floor), "×no-op")
	b.ReportMetric(float64(p99.Microseconds())/1e3, "p99-ms")
	machine.Print("edge "+name, "%.0f requests/s, %.0f events/s, %.1f µs of edge CPU per event, %.2f × a no-op request (%.1f µs), p99 %s",
		requests, real.EventsPerSecond(), perEvent(real), perEvent(real)/perEvent(floor), perEvent(floor), p99.Round(10*time.Microsecond))
}
