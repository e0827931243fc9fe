package ingest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	patience   = 2 * time.Minute
	partitions = 3
	testKey    = "ks_int_0123456789abcdef0123456789abcdef"
)

var tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

// stores are the control plane's: one key, and jobs in memory.
type stores struct {
	mu   sync.Mutex
	jobs map[uuid.UUID]job.Job
}

func (*stores) LookupKey(_ context.Context, hash [32]byte) (key.Key, error) {
	if hash != sha256.Sum256([]byte(testKey)) {
		return key.Key{}, key.ErrUnknownKey
	}
	return key.Key{KeyID: "k", Tenant: tenant, Scope: key.Integration, Settings: event.DefaultSettings()}, nil
}

func (s *stores) SaveJob(_ context.Context, j job.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		s.jobs = map[uuid.UUID]job.Job{}
	}
	s.jobs[j.ID] = j
	return nil
}

func (*stores) AppendChunks(context.Context, uuid.UUID, uuid.UUID, []job.Chunk) error { return nil }

func (*stores) JobStatus(context.Context, uuid.UUID, uuid.UUID) (job.Status, error) {
	return job.Status{}, job.ErrUnknownJob
}

// freePort is none of the kernel's choice: that may be somebody else's by the time it is listened on.
func freePort(t testing.TB) int {
	t.Helper()
	port, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func broker(t testing.TB, port int, dir string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir), kfake.SeedTopics(partitions, event.TopicEvents, event.TopicBackfill))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func config(port int, dir string) Config {
	cfg := DefaultConfig()
	cfg.Edge.Listen = "127.0.0.1:0"
	cfg.Log.Brokers = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	cfg.Log.AckWithin = 300 * time.Millisecond
	cfg.Log.RetryAfter = 20 * time.Millisecond
	cfg.Spool.Dir = dir
	cfg.Spool.RetryAfter, cfg.Spool.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	return cfg
}

func start(t testing.TB, cfg Config) *Ingest {
	t.Helper()
	i, err := New(cfg, Deps{Keys: &stores{}, Jobs: &stores{}, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopIt(t, i) })
	return i
}

func stopIt(t testing.TB, i *Ingest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func post(t testing.TB, i *Ingest, path, contentType, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+i.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", testKey)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ids reads a topic until it has n different message ids, each at its first place.
func ids(t testing.TB, port int, topic string, n int) (out []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen := map[string]bool{}
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d messages: %v", len(out), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var e event.Event
			if err := e.Decode(r.Value, event.DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			if id := string(e.MessageID); !seen[id] {
				seen[id] = true
				out = append(out, id)
			}
		})
	}
	return out
}

func one(i int) string {
	return fmt.Sprintf(`{"message_id":"m%04d","anonymous_id":"a","event_type":"page"}`, i)
}

// The log is away when the edge starts, comes, goes, the edge itself is restarted meanwhile: nothing
// that was acknowledged is lost, and the order is that of the acknowledgements.
func TestRestartsOfEverything(t *testing.T) {
	port, data, disk := freePort(t), t.TempDir(), t.TempDir()
	defer http.DefaultClient.CloseIdleConnections()
	n := 0
	send := func(i *Ingest, count int) {
		t.Helper()
		for range count {
			if status, body := post(t, i, "/ingest", "application/json", one(n)); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			n++
		}
	}
	i := start(t, config(port, disk)) // no log yet
	if err := i.Ready(t.Context()); err != nil {
		t.Fatalf("an edge that spools is ready: %v", err)
	}
	send(i, 30)
	if status, body := post(t, i, "/ingest/batch", "application/x-ndjson", one(0)+"\n"+one(1)); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	stopIt(t, i)
	if err := i.Ready(t.Context()); err == nil {
		t.Error("a stopped edge is ready")
	}
	i = start(t, config(port, disk)) // its spool is there again
	send(i, 30)
	b := broker(t, port, data)
	send(i, 100)
	b.Close()
	send(i, 30)
	stopIt(t, i)
	b = broker(t, port, data)
	defer func() { b.Close() }()
	i = start(t, config(port, disk))
	send(i, 30)
	for k, id := range ids(t, port, event.TopicEvents, n) {
		if id != fmt.Sprintf("m%04d", k) {
			t.Fatalf("%s came when m%04d was due", id, k)
		}
	}
	if got := ids(t, port, event.TopicBackfill, 2); strings.Join(got, " ") != "m0000 m0001" {
		t.Errorf("the batch: %v", got)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cfg := config(freePort(t), t.TempDir())
	cfg.Edge.Listen = l.Addr().String()
	i, err := New(cfg, Deps{Keys: &stores{}, Jobs: &stores{}, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("start on a busy port: %v", err)
	}
	start(t, config(freePort(t), cfg.Spool.Dir)) // its spools are free again
}

func TestTwoProcessesMayListen(t *testing.T) {
	port := freePort(t)
	var running []*Ingest
	for range 2 {
		cfg := config(freePort(t), t.TempDir())
		cfg.Edge.ReusePort, cfg.Edge.Listen = true, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		running = append(running, start(t, cfg))
	}
	for _, i := range running {
		if i.Addr().(*net.TCPAddr).Port != port {
			t.Errorf("listens on %s", i.Addr())
		}
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	if err := config(1, "x").Validate(); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Edge.Listen, cfg.Edge.PublicURL, cfg.Edge.MaxConns = "", "ftp://x", 0
	cfg.Log.AckWithin, cfg.Log.BatchBytes = time.Minute, 64<<10
	cfg.Jobs.Queue = 0
	cfg.Keys.Workers = 0
	err := cfg.Validate()
	for _, rule := range []string{"listen", "public_url", "max_conns", "brokers", "dir", "queue", "workers", "an event is answered within", "a batch is answered within", "batch_bytes"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
	if _, err := New(cfg, Deps{}); err == nil {
		t.Error("New took it")
	}
}
