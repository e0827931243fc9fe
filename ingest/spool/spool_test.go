package spool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

const helperDir = "KEYSTONE_TEST_SPOOL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		helper(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const wait = 10 * time.Second

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

func TestRecordsComeBackWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40)
		r := &kgo.Record{Key: b.Draw(t, "key"), Value: b.Draw(t, "value")}
		for range rapid.IntRange(0, 10).Draw(t, "headers") {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: rapid.String().Draw(t, "name"), Value: b.Draw(t, "text")})
		}
		frame := appendFrame(nil, r)
		got, n, err := readFrame(append(bytes.Clone(frame), "next"...))
		if err != nil || n != len(frame) || fmt.Sprint(*got) != fmt.Sprint(*r) {
			t.Fatalf("%v: %v, %v", r, got, err)
		}
		for cut := range frame { // every prefix is short, never wrong
			if _, _, err := readFrame(frame[:cut]); !errors.Is(err, errShort) {
				t.Fatalf("a prefix of %d bytes: %v", cut, err)
			}
		}
		frame[rapid.IntRange(0, len(frame)-1).Draw(t, "at byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, err := readFrame(frame); err == nil {
			t.Fatal("a flipped bit went unseen")
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, record("x")[0]))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, n, err := readFrame(data); err == nil && (r == nil || n > len(data)) {
			t.Fatal("a frame beyond its input")
		}
		if len(data) > 0 && nextFrame(data) < 1 {
			t.Fatal("no progress")
		}
	})
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

// damage writes ten records, stops, and lets f change the file.
func damage(t *testing.T, f func(data []byte) []byte) (Config, int) {
	t.Helper()
	cfg := config(t.TempDir())
	s, _ := open(t, cfg, OS())
	log := newSink()
	log.err = errors.New("down")
	s.Start(log.deliver)
	appendAll(t, s, numbers(0, 10)...)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := files(t, cfg.Dir, "*.seg")[0]
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	frame := len(data) / 10
	if err := os.WriteFile(name, f(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg, frame
}

func TestDamage(t *testing.T) {
	frame := len(appendFrame(nil, record("value-0000")[0]))
	for name, c := range map[string]struct {
		change func(data []byte) []byte
		want   []string
		says   string
		keeps  int // damaged files kept for an operator
	}{
		"torn tail":            {func(d []byte) []byte { return d[:len(d)-5] }, numbers(0, 9), "torn tail", 0},
		"torn head":            {func(d []byte) []byte { return d[:len(d)-frame+3] }, numbers(0, 9), "torn tail", 0},
		"zeros behind the end": {func(d []byte) []byte { return append(d, make([]byte, 4096)...) }, numbers(0, 10), "torn tail", 0},
		"a flipped bit in the middle": {func(d []byte) []byte { d[4*frame+frame/2] ^= 1; return d },
			append(numbers(0, 4), numbers(5, 10)...), "damaged", 1},
		"a wild length in the middle": {func(d []byte) []byte { d[4*frame+6] = 0x7f; return d },
			append(numbers(0, 4), numbers(5, 10)...), "damaged", 1},
		"a wild length near the end": {func(d []byte) []byte { d[9*frame+5] = 0xff; return d }, numbers(0, 9), "torn tail", 0},
		"both":                       {func(d []byte) []byte { d[frame+20] ^= 8; return d[:len(d)-1] }, append(numbers(0, 1), numbers(2, 9)...), "damaged", 1},
		"all of it":                  {func(d []byte) []byte { return bytes.Repeat([]byte("KFS1junk"), 100) }, nil, "torn tail", 0},
		"empty":                      {func(d []byte) []byte { return nil }, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, small := range []bool{false, true} {
				cfg, _ := damage(t, c.change)
				if small {
					cfg.DrainBytes, cfg.DrainRecords = 40, 3 // windows shorter than a frame
				}
				s, lines := open(t, cfg, OS())
				if int(s.Pending()) != len(c.want) {
					t.Errorf("%d records pending, want %d", s.Pending(), len(c.want))
				}
				if !strings.Contains(lines.String(), c.says) {
					t.Errorf("not reported: %s", lines)
				}
				if strings.Contains(lines.String(), "value-") {
					t.Error("payloads in the log")
				}
				log := newSink()
				s.Start(log.deliver)
				equal(t, log.empty(t, s), c.want...)
				appendAll(t, s, "after")
				equal(t, log.empty(t, s), append(c.want, "after")...)
				if err := s.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if kept := files(t, cfg.Dir, "*.damaged"); len(kept) != c.keeps {
					t.Errorf("kept %v", kept)
				}
			}
		})
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

// faulty is a disk that fails on demand.
type faulty struct {
	FS
	mu                          sync.Mutex
	create, write, sync, remove error
	block                       chan struct{} // a sync waits for it
}

func (f *faulty) set(change func(f *faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faulty) get(read func(f *faulty) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return read(f)
}

func (f *faulty) Create(name string) (File, error) {
	if err := f.get(func(f *faulty) error { return f.create }); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	return faultyFile{file, f}, err
}

func (f *faulty) Remove(name string) error {
	if err := f.get(func(f *faulty) error { return f.remove }); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

type faultyFile struct {
	File
	fs *faulty
}

func (f faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.fs.get(func(f *faulty) error { return f.write }); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], at) // a full disk takes a part
		return n, err
	}
	return f.File.WriteAt(p, at)
}

func (f faultyFile) Sync() error {
	f.fs.mu.Lock()
	block := f.fs.block
	f.fs.mu.Unlock()
	if block != nil {
		<-block
	}
	if err := f.fs.get(func(f *faulty) error { return f.sync }); err != nil {
		return err
	}
	return f.File.Sync()
}

func TestFullDiskTakesNothingAndRecovers(t *testing.T) {
	enospc := fmt.Errorf("write: %w", syscall.ENOSPC)
	for name, set := range map[string]func(f *faulty){
		"no room for a file":  func(f *faulty) { f.create = enospc },
		"no room for a frame": func(f *faulty) { f.write = enospc },
		"failing sync":        func(f *faulty) { f.sync = syscall.EIO },
	} {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, empty %v", name, fresh), func(t *testing.T) {
				fs := &faulty{FS: OS()}
				cfg := config(t.TempDir())
				if !fresh && name == "no room for a file" {
					cfg.SegmentBytes = 1 // every commit wants a new file
				}
				s, _ := open(t, cfg, fs)
				log := newSink()
				log.gate = make(chan struct{})
				s.Start(log.deliver)
				var want []string
				if !fresh {
					appendAll(t, s, "before")
					want = append(want, "before")
				}
				fs.set(set)
				for range 3 {
					if err := s.Append(record("lost"), wait); !errors.Is(err, ErrFailed) {
						t.Fatalf("a write that failed: %v", err)
					}
				}
				if int(s.Pending()) != len(want) {
					t.Errorf("%d pending", s.Pending())
				}
				fs.set(func(f *faulty) { f.create, f.write, f.sync = nil, nil, nil })
				appendAll(t, s, "after")
				close(log.gate)
				equal(t, log.empty(t, s), append(want, "after")...)
			})
		}
	}
}

// What a failed commit left in the file must not come back after a crash.
func TestFailedCommitIsNotRecovered(t *testing.T) {
	fs := &faulty{FS: OS()}
	cfg := config(t.TempDir())
	s, _ := open(t, cfg, fs)
	log := newSink()
	log.err = errors.New("down")
	s.Start(log.deliver)
	appendAll(t, s, "kept")
	fs.set(func(f *faulty) { f.sync = syscall.EIO })
	if err := s.Append(record("refused"), wait); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	_ = s.Stop(t.Context())
	s, _ = open(t, cfg, OS())
	log = newSink()
	s.Start(log.deliver)
	equal(t, log.empty(t, s), "kept")
}

func TestHangingDiskIsDoubtful(t *testing.T) {
	fs := &faulty{FS: OS(), block: make(chan struct{})}
	s, _ := open(t, config(t.TempDir()), fs)
	log := newSink()
	s.Start(log.deliver)
	if err := s.Append(record("slow"), 10*time.Millisecond); !errors.Is(err, ErrDoubtful) {
		t.Fatalf("a sync that hangs: %v", err)
	}
	if s.Pending() != 1 {
		t.Errorf("%d pending: what may still come keeps its place", s.Pending())
	}
	close(fs.block)
	equal(t, log.empty(t, s), "slow")
}

func TestDeliveredSegmentThatCannotBeRemoved(t *testing.T) {
	fs := &faulty{FS: OS(), remove: syscall.EACCES}
	cfg := config(t.TempDir())
	cfg.SegmentBytes = 1
	s, lines := open(t, cfg, fs)
	log := newSink()
	s.Start(log.deliver)
	appendAll(t, s, "a", "b")
	equal(t, log.empty(t, s), "a", "b")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines.String(), "could not remove") {
		t.Errorf("not reported: %s", lines)
	}
}

// Many requests share a sync, and each one's own records keep their order.
func TestGroupCommit(t *testing.T) {
	fs := &faulty{FS: OS(), block: make(chan struct{})}
	s, _ := open(t, config(t.TempDir()), fs)
	log := newSink()
	s.Start(log.deliver)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Append(record("first"), wait); err != nil {
			t.Error(err)
		}
	})
	pending(t, s, 1)
	for i := range 50 {
		wg.Go(func() {
			if err := s.Append(append(record(fmt.Sprintf("%d-a", i)), record(fmt.Sprintf("%d-b", i))...), wait); err != nil {
				t.Error(err)
			}
		})
	}
	pending(t, s, 101)
	close(fs.block)
	wg.Wait()
	got := log.empty(t, s)
	if n := testutil.ToFloat64(s.metrics.syncs); n > 3 || len(got) != 101 {
		t.Errorf("%v syncs for %d records", n, len(got))
	}
	for i := 1; i < len(got); i += 2 {
		if strings.TrimSuffix(got[i], "-a") != strings.TrimSuffix(got[i+1], "-b") {
			t.Fatalf("torn apart: %v", got)
		}
	}
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

// helper appends numbered records and says so on its output, until it is killed.
func helper(dir string) {
	cfg := config(dir)
	cfg.SegmentBytes = 4 << 10
	s, err := Open(cfg, OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	s.Start(func(ctx context.Context, _ []*kgo.Record) ([]*kgo.Record, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for i := 0; ; i++ {
		if err := s.Append(record(fmt.Sprintf("value-%04d", i)), wait); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

func TestSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acked++; acked == 150 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for lines.Scan() { // what it acknowledged before it died
		acked++
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()

	s, _ := open(t, config(dir), OS())
	if int(s.Pending()) < acked {
		t.Fatalf("%d records acknowledged, %d recovered", acked, s.Pending())
	}
	log := newSink()
	s.Start(log.deliver)
	got := log.empty(t, s)
	equal(t, got, numbers(0, len(got))...)
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := Config{}.Validate()
	for _, rule := range []string{"dir", "max_bytes", "high_percent", "segment_bytes", "retry_after"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
