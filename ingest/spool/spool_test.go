package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

const helperDir = "KEYSTONE_TEST_SPOOL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		helper(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const wait = 2 * time.Minute

// sink is a log under the test's control.
type sink struct {
	mu     sync.Mutex
	values []string
	err    error
	refuse string
	gate   chan struct{} // if set, a delivery waits for it or its context
	more   chan struct{}
}

func newSink() *sink { return &sink{more: make(chan struct{}, 1)} }

func (s *sink) deliver(ctx context.Context, records []*kgo.Record) (refused []*kgo.Record, err error) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.more)
	if s.err != nil {
		return nil, s.err
	}
	for _, r := range records {
		if s.refuse != "" && string(r.Value) == s.refuse {
			refused = append(refused, r)
			continue
		}
		s.values = append(s.values, string(r.Value))
	}
	return refused, nil
}

func (s *sink) set(f func(s *sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// empty waits until the spool has delivered everything, and returns what came.
func (s *sink) empty(t *testing.T, sp *Spool) []string {
	t.Helper()
	deadline := time.After(wait)
	for sp.Pending() > 0 {
		select {
		case <-s.more:
		case <-time.After(time.Millisecond): // the last signal may come before the counter moves
		case <-deadline:
			t.Fatalf("%d records are still pending", sp.Pending())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values
}

func record(value string) []*kgo.Record {
	return []*kgo.Record{{Key: []byte("k"), Value: []byte(value),
		Headers: []kgo.RecordHeader{{Key: "tenant", Value: []byte("t")}, {Key: "empty"}}}}
}

func config(dir string) Config {
	c := DefaultConfig()
	c.Dir, c.Name = dir, "live"
	c.RetryAfter, c.RetryMax = time.Millisecond, 10*time.Millisecond
	return c
}

// log collects log lines.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func open(t *testing.T, cfg Config, fs FS) (*Spool, *logLines) {
	t.Helper()
	lines := new(logLines)
	s, err := Open(cfg, fs, slog.New(slog.NewTextHandler(lines, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s, lines
}

func appendAll(t *testing.T, s *Spool, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := s.Append(record(v), wait); err != nil {
			t.Fatalf("append %s: %v", v, err)
		}
	}
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
}

func numbers(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("value-%04d", i))
	}
	return out
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDrainsInOrderAndLeavesNothing(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.SegmentBytes, cfg.DrainRecords, cfg.DrainBytes = 300, 7, 200 // many segments, many chunks
	s, _ := open(t, cfg, OS())
	log := newSink()
	s.Start(log.deliver)
	want := numbers(0, 200)
	appendAll(t, s, want...)
	equal(t, log.empty(t, s), want...)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := files(t, cfg.Dir, "*.seg"); len(left) > 1 { // the active one may be there still, delivered
		t.Errorf("files are left: %v", left)
	}
	if n := testutil.ToFloat64(s.metrics.delivered); n != 200 {
		t.Errorf("%v records delivered", n)
	}
}

func TestSurvivesARestart(t *testing.T) {
	cfg := config(t.TempDir())
	s, _ := open(t, cfg, OS())
	log := newSink()
	log.err = errors.New("the log is down")
	s.Start(log.deliver)
	appendAll(t, s, numbers(0, 10)...)
	if err := errors.Join(s.Stop(t.Context()), s.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(record("late"), wait); !errors.Is(err, ErrClosed) {
		t.Errorf("append after stop: %v", err)
	}

	s, _ = open(t, cfg, OS())
	if s.Pending() != 10 || s.Bytes() == 0 {
		t.Fatalf("%d records recovered", s.Pending())
	}
	log = newSink()
	log.gate = make(chan struct{})
	s.Start(log.deliver)
	appendAll(t, s, numbers(10, 20)...)
	close(log.gate)
	equal(t, log.empty(t, s), numbers(0, 20)...)
}

func TestOneProcessPerFolder(t *testing.T) {
	cfg := config(t.TempDir())
	s, _ := open(t, cfg, OS())
	if _, err := Open(cfg, OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "another edge") {
		t.Errorf("a second spool in the same folder: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	open(t, cfg, OS())
}

func TestErrorsAndRefusals(t *testing.T) {
	cfg := config(t.TempDir())
	s, lines := open(t, cfg, OS())
	log := newSink()
	log.err, log.refuse = errors.New("not now"), "value-0003"
	s.Start(log.deliver)
	appendAll(t, s, numbers(0, 6)...)
	for testutil.ToFloat64(s.metrics.retries) < 3 {
		<-log.more
	}
	log.set(func(l *sink) { l.err = nil })
	equal(t, log.empty(t, s), append(numbers(0, 3), numbers(4, 6)...)...)
	aside := files(t, cfg.Dir, "refused-*.frames")
	if len(aside) != 1 || !strings.Contains(lines.String(), "put aside") {
		t.Fatalf("refused records: %v", aside)
	}
	data, err := os.ReadFile(aside[0])
	if err != nil {
		t.Fatal(err)
	}
	if r, _, err := readFrame(data); err != nil || string(r.Value) != "value-0003" {
		t.Errorf("%v %v", r, err)
	}
}

func TestWatermarkAndLimit(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.MaxBytes, cfg.HighPercent, cfg.GatherBytes = 1<<20, 50, 1<<20
	s, _ := open(t, cfg, OS())
	log := newSink()
	log.gate = make(chan struct{})
	s.Start(log.deliver)
	big := strings.Repeat("x", 100<<10)
	n := 0
	for s.Room() {
		appendAll(t, s, big)
		n++
	}
	if n != 6 {
		t.Errorf("the watermark of 512 KiB came after %d records of 100 KiB", n)
	}
	for {
		err := s.Append(record(big), wait) // what was under way may still come
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 10 {
			t.Fatal(n, err)
		}
		n++
	}
	if s.Bytes() > cfg.MaxBytes || s.Pending() != int64(n) {
		t.Errorf("%d bytes, %d pending of %d", s.Bytes(), s.Pending(), n)
	}
	close(log.gate)
	if got := log.empty(t, s); len(got) != n {
		t.Errorf("%d of %d records came", len(got), n)
	}
	appendAll(t, s, "again")
}

// pending waits until n records have been handed to the spool.
func pending(t *testing.T, s *Spool, n int64) {
	t.Helper()
	for deadline := time.Now().Add(wait); s.Pending() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d records pending, want %d", s.Pending(), n)
		}
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := Config{}.Validate()
	for _, rule := range []string{"dir", "max_bytes", "high_percent", "segment_bytes", "retry_after"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
