package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/event"
)

const (
	drainClients = 32
	drainPart    = 1000 // events before, and again after an edge has gone
	drainDelay   = "1s"
	healthEvery  = 50 * time.Millisecond
)

// edges is an installation with a key and no role yet.
func edges(t *testing.T) *installation {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	in := install(t)
	in.run("migrate")
	in.run("tenants", "create", "shop")
	in.client.TrackerKey = in.key("shop", "tracker")
	return in
}

func (in *installation) edge(args ...string) *role {
	in.t.Helper()
	args = append([]string{"edge", "--drain-delay", drainDelay, "--spool-dir", filepath.Join(in.t.TempDir(), "spool")}, args...)
	r := in.start("edge listens", args...)
	r.says("running")
	return r
}

// What waits in an edge's spool is not done, though the log has nothing of it.
func TestLagCountsSpools(t *testing.T) {
	in := edges(t)
	var waiting atomic.Int64
	waiting.Store(3)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE keystone_spool_pending_records gauge\nkeystone_spool_pending_records{spool=\"live\"} %d\nkeystone_spool_pending_records{spool=\"backfill\"} 0\n", waiting.Load())
	}))
	defer admin.Close()
	out, err := in.try("lag", "--wait", "1ms", "--edge-admin", admin.URL)
	if err == nil || !strings.Contains(err.Error(), "still to be done") || !strings.Contains(out, "spool of "+admin.URL+"          -    3              3") {
		t.Errorf("three that wait: %v\n%s", err, out)
	}
	waiting.Store(0)
	in.run("lag", "--wait", "1ms", "--edge-admin", admin.URL)
	admin.Close()
	if _, err := in.try("lag", "--edge-admin", admin.URL); err == nil || !strings.Contains(err.Error(), "spool") {
		t.Errorf("nobody answers: %v", err)
	}
}

// crowd is constant load: clients on keep-alive connections, each with its next event as soon as the
// one before is acknowledged. Nothing is sent twice, so one failure is one too many.
type crowd struct {
	send   http.RoundTripper
	url    string
	key    string
	event  func(client, i int) string
	counts [drainClients]int // taken of each client; read them after end
	taken  atomic.Int64
	closes atomic.Int64 // answers that end their connection

	stop    chan struct{}
	clients sync.WaitGroup
	mu      sync.Mutex
	failed  []error
}

func (in *installation) crowd(url string, send http.RoundTripper) *crowd {
	return in.crowdOf(url, send, func(client, i int) string {
		return fmt.Sprintf(`{"message_id":"c%d-%d","anonymous_id":"c%d-%d","event_type":"page"}`, client, i, client, i)
	})
}

func (in *installation) crowdOf(url string, send http.RoundTripper, event func(client, i int) string) *crowd {
	c := &crowd{send: send, url: url, key: in.client.TrackerKey, event: event, stop: make(chan struct{})}
	for client := range drainClients {
		c.clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-c.stop:
					return
				default:
				}
				if err := c.one(event(client, i)); err != nil {
					c.mu.Lock()
					c.failed = append(c.failed, fmt.Errorf("c%d-%d: %w", client, i, err))
					c.mu.Unlock()
				}
				c.counts[client] = i + 1
			}
		})
	}
	return c
}

func (c *crowd) one(body string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.GetBody = nil // or net/http sends it again by itself
	req.Header.Set("X-API-Key", c.key)
	resp, err := c.send.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d %w %s", resp.StatusCode, err, text)
	}
	if resp.Close {
		c.closes.Add(1)
	}
	c.taken.Add(1)
	return nil
}

// more waits until further events are taken.
func (c *crowd) more(t *testing.T, n int64) {
	t.Helper()
	for from := c.taken.Load(); c.taken.Load() < from+n; {
		c.mu.Lock()
		failed := len(c.failed)
		c.mu.Unlock()
		if failed > 0 {
			break // end says how
		}
		waitFor(t, func() bool { return c.taken.Load() >= from+min(n, 50) })
		n -= min(n, 50)
		from = c.taken.Load()
	}
}

// end stops the load and wants no failure, and each event in the log exactly once; where an edge was too
// impatient for the log, which a machine under load can make of any, some may be there twice under one id.
func (c *crowd) end(in *installation) {
	in.t.Helper()
	close(c.stop)
	c.clients.Wait()
	for _, err := range c.failed[:min(len(c.failed), 5)] {
		in.t.Error(err)
	}
	if len(c.failed) > 0 {
		in.t.Errorf("%d of %d requests failed", len(c.failed), int64(len(c.failed))+c.taken.Load())
	}
	impatient := false
	for _, r := range in.edges {
		impatient = impatient || strings.Contains(r.log.String(), "the log does not answer; spooling")
	}
	for _, admin := range in.edgeAdmins() {
		waitFor(in.t, func() bool {
			n, err := doctor.Spooled(in.t.Context(), admin)
			return err == nil && n == 0
		})
	}
	records, ids := in.logged()
	if records != c.taken.Load() && (!impatient || records < c.taken.Load()) || int64(len(ids)) != c.taken.Load() {
		in.t.Errorf("the log holds %d records with %d ids; %d events were acknowledged", records, len(ids), c.taken.Load())
	}
	in.t.Logf("%d events, %d answers closed their connection", c.taken.Load(), c.closes.Load())
}

// logged reads all of the live topic.
func (in *installation) logged() (records int64, ids map[string]bool) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), startTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(in.brokers, ",")...), kgo.ConsumeTopics(event.TopicEvents),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		in.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, event.TopicEvents)
	if err != nil || ends.Error() != nil {
		in.t.Fatal(err, ends.Error())
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	ids = map[string]bool{}
	var e event.Event
	for records < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			in.t.Fatalf("%d of %d records: %v", records, want, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			records++
			if err := e.Decode(rec.Value, event.DefaultLimits()); err != nil {
				in.t.Fatal(err)
			}
			ids[string(e.MessageID)] = true
		})
	}
	return records, ids
}

// balancer is a load balancer over edges: it asks them whether they are ready, sends to those in
// turn, and tries another only where it could not connect, which sends nothing twice.
type balancer struct {
	http.Transport
	backends []*backend
	turn     atomic.Uint64
}

type backend struct {
	host, admin string
	ready       atomic.Bool
	unready     chan struct{} // closed when it was ready and is no more
}

func newBalancer(t *testing.T, roles ...*role) *balancer {
	t.Helper()
	b := &balancer{Transport: http.Transport{MaxIdleConnsPerHost: drainClients}}
	ctx, cancel := context.WithCancel(context.Background())
	var checks sync.WaitGroup
	t.Cleanup(func() { cancel(); checks.Wait(); b.CloseIdleConnections() })
	for _, r := range roles {
		be := &backend{host: r.logged("address"), admin: r.logged("admin"), unready: make(chan struct{})}
		b.backends = append(b.backends, be)
		be.check(ctx)
		checks.Go(func() {
			for tick := time.NewTicker(healthEvery); ctx.Err() == nil; {
				select {
				case <-tick.C:
					be.check(ctx)
				case <-ctx.Done():
					tick.Stop()
				}
			}
		})
	}
	return b
}

func (be *backend) check(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+be.admin+"/readyz", nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(req)
	ok := err == nil && resp.StatusCode == http.StatusOK
	if err == nil {
		_ = resp.Body.Close()
	}
	if was := be.ready.Swap(ok); was && !ok {
		close(be.unready)
	}
}

// RoundTrip sends to the next backend that is ready.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	for range 2 * len(b.backends) {
		be := b.backends[b.turn.Add(1)%uint64(len(b.backends))]
		if !be.ready.Load() {
			continue
		}
		req.URL.Host = be.host
		resp, err := b.Transport.RoundTrip(req)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return resp, err
		}
	}
	return nil, errors.New("no backend is ready")
}

// A rolling restart behind a load balancer: one edge of two gets SIGTERM under load. It stops being
// ready while it still serves, and no request fails.
func TestDrainBehindABalancer(t *testing.T) {
	in := edges(t)
	old, other := in.edge("--listen", "127.0.0.1:0"), in.edge("--listen", "127.0.0.1:0")
	b := newBalancer(t, old, other)
	load := in.crowd("http://balancer/ingest", b)
	load.more(t, drainPart)

	old.signal(syscall.SIGTERM)
	select {
	case <-b.backends[0].unready:
	case <-old.done:
		t.Error("it ended before it said that it would")
	}
	// Who has not noticed yet is still served.
	conn, err := net.Dial("tcp", b.backends[0].host)
	if err != nil {
		t.Errorf("unready and already closed: %v", err)
	} else {
		_ = conn.Close()
	}
	old.ends()
	load.more(t, drainPart)
	if load.closes.Load() == 0 {
		t.Error("nobody was told to close its connection")
	}
	load.end(in)
	other.stop()
}

// A restart without a balancer: a second edge listens on the same port before the first one goes. No
// client tries anything twice, and no request fails.
func TestRestartOnOnePort(t *testing.T) {
	in := edges(t)
	old := in.edge("--listen", "127.0.0.1:0", "--reuse-port")
	address := old.logged("address")
	direct := &http.Transport{MaxIdleConnsPerHost: drainClients}
	t.Cleanup(direct.CloseIdleConnections)
	load := in.crowd("http://"+address+"/ingest", direct)
	load.more(t, drainPart)
	for range 2 { // the second time the old one was the new one
		next := in.edge("--listen", address, "--reuse-port")
		load.more(t, drainPart)
		old.stop()
		load.more(t, drainPart)
		old = next
	}
	load.end(in)
	old.stop()
}
