package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a source of n events over some lanes, each telling its lane and its place in it.
func lines(n, lanes int) Source {
	i := 0
	return func(dst []byte) ([]byte, uint64, bool) {
		if i == n {
			return dst, 0, false
		}
		lane := uint64(i % lanes)
		dst = fmt.Appendf(dst, `{"lane":%d,"n":%d}`, lane, i/lanes)
		i++
		return dst, lane, true
	}
}

func config(url string) Config {
	cfg := DefaultConfig()
	cfg.URL, cfg.Key, cfg.Connections = url, "ks_trk_x", 4
	return cfg
}

func server(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

func body(r *http.Request) string {
	data, _ := io.ReadAll(r.Body)
	return string(data)
}

// book checks that every lane's events come once and in their order.
type book struct {
	mu    sync.Mutex
	next  map[int]int
	wrong []string
	count int64
}

func (b *book) write(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lane, n int
	if _, err := fmt.Sscanf(line, `{"lane":%d,"n":%d}`, &lane, &n); err != nil || n != b.next[lane] {
		b.wrong = append(b.wrong, line)
	}
	b.next[lane]++
	b.count++
}

func newBook() *book { return &book{next: map[int]int{}} }

func TestSingleEventsArriveOnceAndInOrder(t *testing.T) {
	seen := newBook()
	var done int64
	var mu sync.Mutex
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != PathIngest || r.Header.Get("X-API-Key") != "ks_trk_x" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusNotFound)
		}
		seen.write(body(r))
	})
	cfg := config(s.URL)
	cfg.Ordered = true
	cfg.ServerCount = func(context.Context) (int64, error) { return seen.count, nil }
	cfg.OnDone = func(events int) { mu.Lock(); done += int64(events); mu.Unlock() }
	report, err := Run(t.Context(), cfg, lines(2000, 37))
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.wrong) > 0 {
		t.Errorf("out of order: %.5v", seen.wrong)
	}
	if report.Sent != 2000 || report.Acknowledged != 2000 || report.Received != 2000 || done != 2000 || report.Latency.Count() != 2000 || report.Statuses[200] != 2000 {
		t.Errorf("%s", report)
	}
}

func TestBatchesAreLinesAndCountsAreTheServers(t *testing.T) {
	seen := newBook()
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		var rejected []string
		accepted := 0
		for scan := bufio.NewScanner(r.Body); scan.Scan(); accepted++ {
			seen.write(scan.Text())
			if strings.Contains(scan.Text(), `"n":5}`) {
				rejected = append(rejected, fmt.Sprintf(`{"index":%d,"code":"invalid_event"}`, accepted+len(rejected)))
				accepted--
			}
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, `{"status":"enqueued","accepted":%d,"rejected":[%s]}`, accepted, strings.Join(rejected, ","))
	})
	cfg := config(s.URL)
	cfg.Path, cfg.BatchEvents, cfg.Ordered = PathBatch, 64, true
	report, err := Run(t.Context(), cfg, lines(1000, 10))
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.wrong) > 0 || seen.count != 1000 {
		t.Errorf("%d events, out of order: %.5v", seen.count, seen.wrong)
	}
	if report.Acknowledged != 990 || report.Rejected != 10 || report.Failed != 0 || report.Codes["invalid_event"] != 10 {
		t.Errorf("%s", report)
	}
	if report.Requests > 1000/64+4 {
		t.Errorf("%d requests", report.Requests)
	}
}

func TestRefusalsAreCountedAndNotRepeated(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":{"code":"invalid_event","message":"no"}}`)
	})
	cfg := config(s.URL)
	cfg.RetryFor = time.Minute
	report, err := Run(t.Context(), cfg, lines(50, 5))
	if err != nil {
		t.Fatal(err)
	}
	if report.Rejected != 50 || report.Requests != 50 || report.Codes["invalid_event"] != 50 {
		t.Errorf("%s", report)
	}
}

// What a batch's answer calls unavailable was not taken: it comes again, alone.
func TestUnavailableItemsOfABatchAreSentAgain(t *testing.T) {
	var bodies []string
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		bodies = append(bodies, body(r))
		w.WriteHeader(http.StatusAccepted)
		if len(bodies) == 1 {
			_, _ = io.WriteString(w, `{"accepted":2,"rejected":[{"index":1,"code":"invalid_event"},{"index":2,"code":"unavailable"},{"index":4,"code":"unavailable"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"accepted":2,"rejected":[]}`)
	})
	cfg := config(s.URL)
	cfg.Path, cfg.BatchEvents, cfg.RetryFor = PathBatch, 5, time.Minute
	report, err := Run(t.Context(), cfg, lines(5, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 2 || bodies[1] != `{"lane":0,"n":2}`+"\n"+`{"lane":0,"n":4}` {
		t.Errorf("sent %q", bodies)
	}
	if report.Acknowledged != 4 || report.Rejected != 1 || report.Failed != 0 || report.Retries != 1 {
		t.Errorf("%s", report)
	}
}

// A request that was not acknowledged comes again with the same bytes, and not before Retry-After.
func TestRetriesKeepTheBytesAndHonourRetryAfter(t *testing.T) {
	var mu sync.Mutex
	first := map[string]time.Time{}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		text := body(r)
		mu.Lock()
		defer mu.Unlock()
		at, again := first[text]
		switch {
		case !again:
			first[text] = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case time.Since(at) < 900*time.Millisecond:
			t.Errorf("repeated after %s", time.Since(at))
		}
	})
	cfg := config(s.URL)
	cfg.RetryFor = time.Minute
	report, err := Run(t.Context(), cfg, lines(4, 4))
	if err != nil {
		t.Fatal(err)
	}
	if report.Acknowledged != 4 || report.Retries != 4 || len(first) != 4 || report.Statuses[503] != 4 {
		t.Errorf("%s", report)
	}
}

func TestLostConnectionsAreRepeated(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		text := body(r)
		mu.Lock()
		again := seen[text]
		seen[text] = true
		mu.Unlock()
		if !again {
			panic(http.ErrAbortHandler)
		}
	})
	cfg := config(s.URL)
	cfg.RetryFor = time.Minute
	report, err := Run(t.Context(), cfg, lines(8, 8))
	if err != nil {
		t.Fatal(err)
	}
	if report.Acknowledged != 8 || report.Broken != 8 || report.Requests != 16 {
		t.Errorf("%s", report)
	}
}

func TestWithoutRetriesTheFailuresAreReported(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	report, err := Run(t.Context(), config(s.URL), lines(20, 1))
	if err != nil || report.Failed != 20 || report.Requests != 20 {
		t.Errorf("%v: %s", err, report)
	}
	s.Close()
	report, err = Run(t.Context(), config(s.URL), lines(20, 1))
	if err != nil || report.Failed != 20 || report.Broken != 20 {
		t.Errorf("%v: %s", err, report)
	}
}

// A server that stalls once delays everything that was due meanwhile. A generator that waits for
// answers before it counts would see one slow request; this one sees them all.
func TestLatencyCountsFromWhenAnEventWasDue(t *testing.T) {
	const stall = 400 * time.Millisecond
	var once sync.Once
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { <-time.After(stall) })
	})
	cfg := config(s.URL)
	cfg.Connections, cfg.Rate = 1, 100
	report, err := Run(t.Context(), cfg, lines(50, 1))
	if err != nil {
		t.Fatal(err)
	}
	if report.Latency.Quantile(0.5) < stall/4 || report.Latency.Max() < stall {
		t.Errorf("%s", report)
	}
	if report.Elapsed < 490*time.Millisecond {
		t.Errorf("50 events at 100 a second took %s", report.Elapsed)
	}
}

func TestContextEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		w.WriteHeader(http.StatusTooManyRequests)
	})
	cfg := config(s.URL)
	cfg.RetryFor = time.Hour
	report, err := Run(ctx, cfg, lines(1_000_000, 3))
	if err == nil || report.Acknowledged != 0 || report.Failed != report.Sent || report.Sent >= 1_000_000 {
		t.Errorf("%v: %s", err, report)
	}
}

// A server that never answers does not hold up the end: the attempt under way is given up.
func TestContextEndsAnAttempt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hold := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-hold
	})
	defer close(hold)
	cfg := config(s.URL)
	cfg.Timeout = time.Hour
	report, err := Run(ctx, cfg, lines(1, 1))
	if err == nil || report.Failed != 1 || report.Broken != 1 {
		t.Errorf("%v: %s", err, report)
	}
}

func TestConfigListsEveryBrokenRule(t *testing.T) {
	if err := config("http://localhost:1").Validate(); err != nil {
		t.Error(err)
	}
	err := Config{URL: "localhost/x", Path: "/", Rate: -1, RetryFor: -1}.Validate()
	for _, want := range []string{"url", "path", "key", "connections", "rate", "batch_events", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if _, err := Run(t.Context(), Config{}, nil); err == nil {
		t.Error("Run takes a broken configuration")
	}
}

func TestMetricCount(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "# TYPE taken counter\ntaken{lane=\"live\"} 3\ntaken{lane=\"b c\"} 1e3\ntaken_not 9\n")
	})
	if n, err := MetricCount(s.URL, "taken")(t.Context()); n != 1003 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := MetricCount(s.URL, "take")(t.Context()); err == nil {
		t.Error("a metric that is not there was found")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestReportSaysWhatMatters(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {})
	cfg := config(s.URL)
	cfg.ServerPID = 1
	report, err := Run(t.Context(), cfg, lines(10, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cores", "10 sent, 10 acknowledged", "closed loop", "p99", "µs/event", "server"} {
		if !strings.Contains(report.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
}
