package spool

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

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
