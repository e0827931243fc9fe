package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// TestMain sees that nothing is left running but fasthttp's own: a clock, and a sweeper that looks
// every ten seconds whether its server is still there.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// hollow is an edge with nothing behind it: it judges events as the specification says, remembers
// message ids and the path by which each device's events came, and fails now and then.
type hollow struct {
	mu      sync.Mutex
	ids     map[string]int    // message id → deliveries
	devices map[string]string // device → path
	strays  []string          // devices that came by both paths
	asked   int
}

func (e *hollow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked++; e.asked%50 == 7 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	want := map[string]string{load.PathIngest: "ks_trk_1", load.PathBatch: "ks_int_1"}[r.URL.Path]
	if r.Header.Get("X-API-Key") != want {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == load.PathIngest {
		body, _ := io.ReadAll(r.Body)
		if !e.take(body, r.URL.Path) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"code":"invalid_event"}}`)
		}
		return
	}
	accepted := 0
	rejected := []map[string]any{}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e.take(lines.Bytes(), r.URL.Path) {
			accepted++
		} else {
			rejected = append(rejected, map[string]any{"code": "invalid_event"})
		}
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": accepted, "rejected": rejected})
}

func (e *hollow) take(body []byte, path string) bool {
	var x event.Event
	var ids event.Identifiers
	settings := event.DefaultSettings()
	if x.Decode(body, event.DefaultLimits()) != nil {
		return false
	}
	if x.Identifiers(uuid.Nil, &settings, &ids); ids.Empty() {
		return false
	}
	e.ids[string(x.MessageID)]++
	if device := string(x.AnonymousID); device != "" {
		if before, ok := e.devices[device]; ok && before != path {
			e.strays = append(e.strays, device)
		}
		e.devices[device] = path
	}
	return true
}

func TestReplay(t *testing.T) {
	e := &hollow{ids: map[string]int{}, devices: map[string]string{}}
	server := httptest.NewServer(e)
	defer server.Close()
	cfg := DefaultConfig()
	cfg.EdgeURL, cfg.TrackerKey, cfg.IntegrationKey = server.URL, "ks_trk_1", "ks_int_1"
	cfg.Shop.Events, cfg.Shop.Invalid, cfg.Connections, cfg.BatchEvents = 4_000, 0.01, 8, 100
	var bar bytes.Buffer
	s, err := Replay(t.Context(), cfg, &bar)
	if err != nil {
		t.Fatal(err)
	}
	deliveries := 0
	for _, n := range e.ids {
		deliveries += n
	}
	if s.Sent != 4_000 || s.Failed != 0 || s.Acknowledged+s.Rejected != s.Sent || s.Live+s.History != s.Sent {
		t.Errorf("%+v", s)
	}
	if int64(len(e.ids)) != s.Distinct || int64(deliveries) != s.Acknowledged || s.Acknowledged != s.Distinct+s.Duplicates {
		t.Errorf("the edge has %d distinct of %d: %+v", len(e.ids), deliveries, s)
	}
	if s.Rejected != int64(s.Truth.Invalid) || s.Rejected == 0 || s.Retries == 0 || s.Batches == 0 {
		t.Errorf("%d rejected of %d invalid, %d retries, %d batches", s.Rejected, s.Truth.Invalid, s.Retries, s.Batches)
	}
	if share := float64(s.Live) / float64(s.Sent); share < 0.25 || share > 0.45 {
		t.Errorf("%.2f of the events came live", share)
	}
	if len(e.strays) > 0 {
		t.Errorf("%d devices came by both paths", len(e.strays))
	}
	if len(e.devices) != s.Truth.Devices {
		t.Errorf("%d devices, want %d", len(e.devices), s.Truth.Devices)
	}
	if !strings.Contains(bar.String(), fmt.Sprintf("%d/%d", 4000, 4000)) {
		t.Errorf("the bar does not end full: %q", bar.String())
	}
}

// The same through the real edge: what it acknowledged is in the log, and it refused what is invalid.
func TestReplayIntoTheLog(t *testing.T) {
	seeds := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 2}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 2})
	e, err := edge.Start(t.Context(), seeds, t.TempDir(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	cfg := DefaultConfig()
	cfg.EdgeURL, cfg.TrackerKey, cfg.IntegrationKey = e.URL, edge.TrackerKey, edge.IntegrationKey
	cfg.Shop.Events, cfg.Shop.Invalid, cfg.Connections = 3_000, 0.02, 8
	s, err := Replay(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Failed != 0 || s.Rejected != int64(s.Truth.Invalid) || s.Acknowledged != int64(s.Truth.Delivered()) {
		t.Errorf("%+v\n%s\n%s", s, s.LiveReport, s.HistoryReport)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(event.TopicEvents, event.TopicBackfill), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// What the edge had no answer for in time is there later, and may be there twice.
	admin := kadm.NewClient(client)
	ids, read, records := map[string]bool{}, int64(0), int64(0)
	for begin := time.Now(); int64(len(ids)) < s.Distinct || read < records; {
		ends, err := admin.ListEndOffsets(t.Context(), event.TopicEvents, event.TopicBackfill)
		if err != nil {
			t.Fatal(err)
		}
		records = 0
		ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
		if time.Since(begin) > time.Minute {
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			read++
			var x event.Event
			if err := x.Decode(r.Value, event.DefaultLimits()); err != nil {
				t.Error(err)
			}
			ids[string(x.MessageID)] = true
		})
		cancel()
	}
	if int64(len(ids)) != s.Distinct || read < s.Acknowledged {
		t.Errorf("%d records with %d ids in the log, %d with %d acknowledged", read, len(ids), s.Acknowledged, s.Distinct)
	}
}

func TestReplayTellsHowFarItCame(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	cfg := DefaultConfig()
	cfg.EdgeURL, cfg.TrackerKey, cfg.IntegrationKey, cfg.RetryFor = server.URL, "ks_trk_1", "ks_int_1", 0
	cfg.Shop.Events = 500
	s, err := Replay(t.Context(), cfg, nil)
	if err != nil || s.Sent != 500 || s.Failed != 500 || s.Acknowledged != 0 {
		t.Errorf("%v: %+v", err, s)
	}
}

func TestTheStreamEndsAboutNow(t *testing.T) {
	now := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	cfg := DefaultConfig().dated(now)
	if end := cfg.Shop.Start.Add(cfg.Shop.Span); end.After(now) || now.Sub(end) > 24*time.Hour {
		t.Errorf("the stream ends %s", end)
	}
}

func TestConfigListsEveryBrokenRule(t *testing.T) {
	cfg := DefaultConfig()
	cfg.LiveShare, cfg.Shop.Events, cfg.BatchEvents = 2, -1, 0
	err := cfg.Validate()
	for _, want := range []string{"live_share", "events", "batch_events", "url", "key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}
