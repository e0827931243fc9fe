package edge

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
)

func TestMain(m *testing.M) {
	// fasthttp's clock for the Date header runs as long as the process, and its workers' cleaner
	// notices the end of its server after ten seconds.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	patience   = 2 * time.Minute
	partitions = 3

	trackerKey     = "ks_trk_0123456789abcdef0123456789abcdef"
	integrationKey = "ks_int_0123456789abcdef0123456789abcdef"
	originKey      = "ks_trk_origin"
	slowKey        = "ks_trk_slow" // one event, then a long wait
	otherKey       = "ks_int_other"
)

var (
	tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	other  = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
)

// rig is an edge on real lanes over a real broker, with the stores under the test's control.
type rig struct {
	t        testing.TB
	s        *Server
	keys     *keySource
	jobs     *jobStore
	cluster  *kfake.Cluster
	live     *produce.Lane
	liveDisk *disk
	registry *prometheus.Registry
	client   *http.Client
	url      string
}

// disk is a file system that can be made to fail.
type disk struct {
	spool.FS
	mu   sync.Mutex
	fail error
}

func (d *disk) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

func (d *disk) Create(name string) (spool.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	return d.FS.Create(name)
}

type options struct {
	edge  func(*Config)
	lane  func(*produce.Config)
	spool func(*spool.Config)
	log   io.Writer

	tracer *trace.Tracer
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, event.TopicEvents, event.TopicBackfill))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	if o.log == nil {
		o.log = io.Discard
	}
	log := slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := &rig{t: t, keys: newKeySource(), jobs: &jobStore{jobs: map[uuid.UUID]job.Job{}}, cluster: cluster, registry: prometheus.NewRegistry(), liveDisk: &disk{FS: spool.OS()}}

	kc := key.DefaultConfig()
	keys, err := key.New(kc, r.keys, r.registry)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := job.NewRecorder(job.DefaultConfig(), r.jobs, log, r.registry)
	if err != nil {
		t.Fatal(err)
	}
	lane := func(name, topic string, fs spool.FS) *produce.Lane {
		sc := spool.DefaultConfig()
		sc.Dir, sc.Name = t.TempDir(), name
		sc.RetryAfter, sc.RetryMax = 10*time.Millisecond, 50*time.Millisecond
		if o.spool != nil {
			o.spool(&sc)
		}
		sp, err := spool.Open(sc, fs, log, r.registry)
		if err != nil {
			t.Fatal(err)
		}
		pc := produce.DefaultConfig()
		pc.Brokers, pc.RetryAfter = cluster.ListenAddrs(), 20*time.Millisecond
		pc.AckWithin = patience
		if o.lane != nil {
			o.lane(&pc)
		}
		l, err := produce.NewLane(pc, topic, sp, log, r.registry)
		if err != nil {
			t.Fatal(err)
		}
		l.Tracer = o.tracer
		return l
	}
	r.live = lane("live", event.TopicEvents, r.liveDisk)
	backfill := lane("backfill", event.TopicBackfill, spool.OS())
	backfill.Delivered = jobs.Delivered

	cfg := DefaultConfig()
	cfg.BulkWithin = patience
	if o.edge != nil {
		o.edge(&cfg)
	}
	r.s, err = New(cfg, Deps{Keys: keys, Live: r.live, Backfill: backfill, Jobs: jobs, Log: log, Registry: r.registry, Tracer: o.tracer})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := errors.Join(keys.Start(ctx), jobs.Start(ctx), r.live.Start(ctx), backfill.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.s.Serve(l); err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	r.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") },
		Timeout:       patience,
	}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = r.s.Stop(ctx) // some tests leave requests that never finish
		if err := errors.Join(r.live.Stop(ctx), backfill.Stop(ctx), jobs.Stop(ctx), keys.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	closes bool // the connection
}

func (a *answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("%d: %q is no JSON object: %v", a.status, a.body, err)
	}
	return m
}

// code and field of an error.
func (a *answer) failure(t testing.TB) (code, field string) {
	t.Helper()
	e, ok := a.json(t)["error"].(map[string]any)
	if !ok || e["message"] == "" {
		t.Fatalf("%d %s is no error in the one shape", a.status, a.body)
	}
	code, _ = e["code"].(string)
	field, _ = e["field"].(string)
	return code, field
}

// do sends a request; headers come in pairs.
func (r *rig) do(method, path string, body []byte, headers ...string) *answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header[http.CanonicalHeaderKey(headers[i])] = append(req.Header[http.CanonicalHeaderKey(headers[i])], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return &answer{resp.StatusCode, resp.Header, text, resp.Close}
}

func (r *rig) post(path, apiKey, contentType, body string, more ...string) *answer {
	r.t.Helper()
	headers := append([]string{"Content-Type", contentType}, more...)
	if apiKey != "" {
		headers = append(headers, "X-API-Key", apiKey)
	}
	return r.do("POST", path, []byte(body), headers...)
}

const jsonType = "application/json"

// metric is the sum of a metric's values over its labels that contain all of the pairs.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// conserved checks received = accepted + rejected for every endpoint.
func (r *rig) conserved() {
	r.t.Helper()
	for _, name := range endpointNames {
		received := r.metric("keystone_edge_received_events_total", "endpoint", name)
		accepted := r.metric("keystone_edge_accepted_events_total", "endpoint", name)
		rejected := r.metric("keystone_edge_rejected_events_total", "endpoint", name)
		if received != accepted+rejected {
			r.t.Errorf("%s: received %v, accepted %v, rejected %v", name, received, accepted, rejected)
		}
	}
}

func zip(t testing.TB, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.Copy(w, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
