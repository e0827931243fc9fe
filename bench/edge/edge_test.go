package edge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
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
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent, whatever becomes of it
		err = stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveEdge() (string, func() error, error) {
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
func child(b *testing.B, role string, env ...string) (url string, pid int) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), env...), envRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("stop the %s: %v", role, err)
		}
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("start the %s: %v", role, err)
	}
	return strings.TrimSpace(url), cmd.Process.Pid
}

// events is how many each server takes in one round.
const events = 30_000

// BenchmarkEdge is requests and events per second, and the edge's processor time for each event: as
// such, and as a multiple of what a server takes that only answers. The load generator and the
// broker share the cores.
func BenchmarkEdge(b *testing.B) {
	for _, c := range []struct {
		name        string
		path, key   string
		connections int
		batch       int
	}{
		{"single/64", load.PathIngest, edge.TrackerKey, 64, 1},
		{"single/256", load.PathIngest, edge.TrackerKey, 256, 1},
		{"batch/100", load.PathBatch, edge.IntegrationKey, 32, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			noopURL, noopPID := child(b, roleNoop)
			seeds := startLog(b)
			edgeURL, edgePID := child(b, roleEdge, envBrokers+"="+strings.Join(seeds, ","), envDir+"="+filepath.Join(b.TempDir(), "spool"))
			cfg := load.DefaultConfig()
			cfg.Path, cfg.Key, cfg.Connections, cfg.BatchEvents = c.path, c.key, c.connections, c.batch
			var floor, real load.Report
			for round := uint64(1); b.Loop(); round++ {
				b.StopTimer()
				noop := cfg
				noop.Path, noop.BatchEvents = load.PathIngest, 1
				run(b, &floor, noop, noopURL, noopPID, round)
				b.StartTimer()
				run(b, &real, cfg, edgeURL, edgePID, round)
			}
			report(b, c.name, &floor, &real)
		})
	}
}

// startLog starts a broker in this process, with its log on disk, and the edge's topics.
func startLog(b *testing.B) []string {
	b.Helper()
	cfg := broker.DefaultConfig()
	cfg.DataDir = filepath.Join(b.TempDir(), "log")
	log, err := broker.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := log.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	enginetest.CreateTopics(b, log.Addrs(), enginetest.Topic{Name: event.TopicEvents, Partitions: 8}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 8})
	return log.Addrs()
}

// run sends a round of events and adds to sum what it took.
func run(b *testing.B, sum *load.Report, cfg load.Config, url string, pid int, seed uint64) {
	b.Helper()
	s := shop.DefaultConfig()
	s.Seed, s.Events, s.Undated = seed, events, true
	stream, err := shop.New(s)
	if err != nil {
		b.Fatal(err)
	}
	cfg.URL, cfg.ServerPID = url, pid
	r, err := load.Run(b.Context(), cfg, func(dst []byte) ([]byte, uint64, bool) {
		out, d, ok := stream.Next(dst)
		return out, d.Lane, ok
	})
	if err != nil || r.Acknowledged != events {
		b.Fatalf("%v\n%s", err, r)
	}
	sum.Elapsed += r.Elapsed
	sum.Requests += r.Requests
	sum.Acknowledged += r.Acknowledged
	sum.ServerCPU += r.ServerCPU
	sum.Latency.Add(&r.Latency)
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
