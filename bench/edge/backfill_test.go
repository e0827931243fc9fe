package edge_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

const (
	envURL    = "KEYSTONE_BENCH_URL"
	envEvents = "KEYSTONE_BENCH_EVENTS"
	envShape  = "KEYSTONE_BENCH_SHAPE"

	roleLog      = "log"
	roleBackfill = "backfill"

	backfillEvents = 1_000_000
	liveRate       = 2_000 // events per second
	liveAlone      = 10 * time.Second
)

// serveLog is a broker in a process of its own, with its log on disk.
func serveLog() (string, func() error, error) {
	cfg := broker.DefaultConfig()
	cfg.DataDir = os.Getenv(envDir)
	log, err := broker.New(cfg)
	if err == nil {
		err = log.Start(context.Background())
	}
	if err != nil {
		return "", nil, err
	}
	return strings.Join(log.Addrs(), ","), func() error { return log.Stop(context.Background()) }, nil
}

// shapes are what backfills look like.
var shapes = []struct {
	name   string
	events int // in a request
	gzip   bool
}{
	{"1000 events a request", 1_000, false},
	{"1000 events a request, gzip", 1_000, true},
	{"20000 events a request", 20_000, false},
}

// backfill sends its events in batches, two requests at a time, as fast as they are answered.
func backfill() (*load.Report, error) {
	n, err := strconv.Atoi(os.Getenv(envEvents))
	if err != nil {
		return nil, err
	}
	shape, err := strconv.Atoi(os.Getenv(envShape))
	if err != nil {
		return nil, err
	}
	s := shop.DefaultConfig()
	s.Seed, s.Events = 7, n
	stream, err := shop.New(s)
	if err != nil {
		return nil, err
	}
	cfg := load.DefaultConfig()
	cfg.URL, cfg.Path, cfg.Key = os.Getenv(envURL), load.PathBatch, edge.IntegrationKey
	cfg.Connections, cfg.RetryFor = 2, time.Minute
	cfg.BatchEvents, cfg.Gzip = shapes[shape].events, shapes[shape].gzip
	return load.Run(context.Background(), cfg, func(dst []byte) ([]byte, uint64, bool) {
		out, d, ok := stream.Next(dst)
		return out, d.Lane, ok
	})
}

// runBackfill is the child's whole work: its report goes to its output.
func runBackfill() error {
	r, err := backfill()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"acknowledged": float64(r.Acknowledged), "seconds": r.Elapsed.Seconds()})
}

// live sends events at a steady rate until it is told to stop, and no fewer than some.
func live(b *testing.B, url string, seed uint64, atLeast time.Duration, stop *atomic.Bool) *load.Report {
	b.Helper()
	s := shop.DefaultConfig()
	s.Seed, s.Events, s.Undated = seed, 10*backfillEvents, true
	stream, err := shop.New(s)
	if err != nil {
		b.Fatal(err)
	}
	cfg := load.DefaultConfig()
	cfg.URL, cfg.Key, cfg.Connections, cfg.Rate = url, edge.TrackerKey, 64, liveRate
	n := 0
	r, err := load.Run(b.Context(), cfg, func(dst []byte) ([]byte, uint64, bool) {
		if n++; n > int(atLeast.Seconds()*liveRate) && stop.Load() {
			return nil, 0, false
		}
		out, d, ok := stream.Next(dst)
		return out, d.Lane, ok
	})
	if err != nil || r.Acknowledged != r.Sent {
		b.Fatalf("%v\n%s", err, r)
	}
	return r
}

// BenchmarkBackfill is the latency of live events, sent at a steady rate in an open loop: alone; while a
// million events go into another edge, on the same log, which is what sharing the cores and the log
// costs; and while they go into the other lane of the same edge. The edges, the log and both generators
// are processes of their own.
func BenchmarkBackfill(b *testing.B) {
	seeds := strings.Split(first(child(b, roleLog, envDir+"="+filepath.Join(b.TempDir(), "log"))), ",")
	enginetest.CreateTopics(b, seeds, enginetest.Topic{Name: event.TopicEvents, Partitions: 8}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 8})
	start := func() string {
		return first(child(b, roleEdge, envBrokers+"="+strings.Join(seeds, ","), envDir+"="+filepath.Join(b.TempDir(), "spool")))
	}
	url, another := start(), start()
	var done atomic.Bool
	done.Store(true)
	live(b, url, 1, time.Second, &done) // connections, caches
	for shape := range shapes {
		b.Run(shapes[shape].name, func(b *testing.B) { benchmarkBackfill(b, shape, url, another) })
	}
}

// benchmarkBackfill is it for one shape of backfill, into the edge at url and into another.
func benchmarkBackfill(b *testing.B, shape int, url, another string) {
	var done atomic.Bool
	done.Store(true)
	var alone, apart, beside load.Histogram
	var filled, seconds float64 // into the same edge
	during := func(target string, seed uint64) *load.Report {
		done.Store(false)
		go func() {
			defer done.Store(true)
			out := fill(b, shape, target)
			if got := int(out["acknowledged"]); got != backfillOf() {
				b.Errorf("the backfill has put in %d events of %d", got, backfillOf())
			}
			if target == url {
				filled, seconds = filled+out["acknowledged"], seconds+out["seconds"]
			}
		}()
		return live(b, url, seed, time.Second, &done)
	}
	span := liveAlone
	if testing.Short() {
		span /= 10
	}
	for round := uint64(2); b.Loop(); round += 3 {
		alone.Add(&live(b, url, round, span, &done).Latency)
		apart.Add(&during(another, round+1).Latency)
		beside.Add(&during(url, round+2).Latency)
	}
	ms := func(h *load.Histogram, q float64) float64 { return float64(h.Quantile(q).Microseconds()) / 1e3 }
	b.ReportMetric(ms(&alone, .99), "p99-alone-ms")
	b.ReportMetric(ms(&apart, .99), "p99-apart-ms")
	b.ReportMetric(ms(&beside, .99), "p99-beside-ms")
	b.ReportMetric(ms(&beside, .99)/ms(&alone, .99), "×alone")
	machine.Print("backfill", "%s; live at %d events/s: p50 %.2f, p99 %.2f ms alone; %.2f, %.2f ms beside another edge's backfill; %.2f, %.2f ms beside its own, %.1f times; %.0f events/s were filled in there",
		shapes[shape].name, liveRate, ms(&alone, .5), ms(&alone, .99), ms(&apart, .5), ms(&apart, .99), ms(&beside, .5), ms(&beside, .99), ms(&beside, .99)/ms(&alone, .99), filled/seconds)
}

func first(url string, _ int) string { return url }

// backfillOf is how many events a backfill has.
func backfillOf() int {
	if testing.Short() {
		return 20_000
	}
	return backfillEvents
}

// fill runs a backfill in a process of its own and answers what it reports.
func fill(b *testing.B, shape int, url string) (out map[string]float64) {
	exe, err := os.Executable()
	if err != nil {
		b.Error(err)
		return nil
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envRole+"="+roleBackfill, envURL+"="+url, envEvents+"="+strconv.Itoa(backfillOf()), envShape+"="+strconv.Itoa(shape))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		b.Errorf("backfill: %v", err)
	}
	return out
}
