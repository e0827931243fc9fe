// Package spool keeps records on disk while the log does not take them, and hands them to the log in
// order when it does. An Append that returns nil has been fsynced: the records survive kill -9 and
// power loss. It is not a log of its own: what is delivered is deleted.
//
// Records lie in numbered segment files, framed with length and CRC. Two goroutines run between
// Start and Stop: the writer, which commits the appends of many requests with one fsync, and the
// drain. After a crash a segment is delivered again from its beginning; the records carry their
// message ids, so that counts once.
//
// Stop is the owner's: it ends both and closes the files. What is left is drained after the next Open.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/throttle"
)

// What Append may answer.
var (
	ErrFull   = errors.New("the spool is full")
	ErrFailed = errors.New("the spool could not write")
	ErrClosed = errors.New("the spool is closed")
	// ErrDoubtful: the disk has not answered in time. The records may yet be written and delivered.
	ErrDoubtful = errors.New("the spool has not written in time")
)

// Deliver hands records to the log and returns when it has taken all of them. Refused are those
// that the log will never take; the spool puts them aside. On an error all of them come again.
type Deliver func(ctx context.Context, records []*kgo.Record) (refused []*kgo.Record, err error)

// Spool is one queue on disk.
type Spool struct {
	cfg     Config
	fs      FS
	log     *slog.Logger
	metrics *metrics
	lock    io.Closer

	writeFailed throttle.Message
	drainFailed throttle.Message

	pending atomic.Int64 // records appended and not yet delivered; includes appends under way
	bytes   atomic.Int64 // of segments on disk

	write    chan struct{} // to the writer: something is gathered; capacity 1
	drain    chan struct{} // to the drain: something is written; capacity 1
	quit     chan struct{} // closed by Stop: the writer commits what is gathered and ends
	cancel   context.CancelFunc
	writer   sync.WaitGroup
	drainer  sync.WaitGroup
	stopOnce sync.Once
	stopErr  error

	mu       sync.Mutex // guards what follows
	closed   bool
	gather   *commit
	writing  bool       // the writer is at work on a commit
	segments []*segment // oldest first
	active   *segment   // the last of them, where the writer appends; nil: none yet
	next     uint64     // number of the next segment
}

// commit is a group of appends that share one fsync. done is closed once err is set.
type commit struct {
	frames  []byte
	records int64
	done    chan struct{}
	err     error
}

func newCommit() *commit { return &commit{done: make(chan struct{})} }

// Open recovers what an earlier process has left in cfg.Dir. Damaged parts are cut out and reported.
func Open(cfg Config, fs FS, log *slog.Logger, reg prometheus.Registerer) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := fs.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make spool folder: %w", err)
	}
	lock, err := fs.Lock(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("lock spool %s: is another edge using it? %w", cfg.Dir, err)
	}
	s := &Spool{
		cfg: cfg, fs: fs, log: log, lock: lock,
		write: make(chan struct{}, 1), drain: make(chan struct{}, 1), quit: make(chan struct{}),
		gather: newCommit(), next: 1,
	}
	s.metrics = newMetrics(reg, cfg.Name, s)
	if err := s.restore(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

// Start runs the writer, and the drain into deliver.
func (s *Spool) Start(deliver Deliver) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.writer.Go(s.runWriter)
	s.drainer.Go(func() { s.runDrain(ctx, deliver) })
	signal(s.drain)
}

// Stop ends the drain and the writer, and closes the files. Deliver's context is cancelled first.
func (s *Spool) Stop(context.Context) error {
	s.stopOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		if s.cancel != nil {
			s.cancel()
		}
		s.drainer.Wait()
		close(s.quit)
		s.writer.Wait()
		var errs []error
		for _, seg := range s.segments {
			if seg.file != nil {
				errs = append(errs, seg.file.Close())
			}
		}
		s.stopErr = errors.Join(append(errs, s.lock.Close())...)
	})
	return s.stopErr
}

// Pending is how many records wait here for the log. While it is not 0, what must come after them
// has to be appended as well.
func (s *Spool) Pending() int64 { return s.pending.Load() }

// Bytes is how much lies on disk.
func (s *Spool) Bytes() int64 { return s.bytes.Load() }

// Room tells whether the spool is below its high watermark: beyond it only what is under way
// already may still come.
func (s *Spool) Room() bool { return s.bytes.Load() < s.cfg.watermark() }

// Append writes the records behind all earlier ones and waits for the fsync, at most wait.
// It keeps no reference to them. ErrFull, ErrFailed, ErrClosed: nothing was taken.
func (s *Spool) Append(records []*kgo.Record, wait time.Duration) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	g := s.gather
	before := len(g.frames)
	for _, r := range records {
		g.frames = appendFrame(g.frames, r)
	}
	if len(g.frames) > s.cfg.GatherBytes || s.bytes.Load()+int64(len(g.frames)) > s.cfg.MaxBytes {
		g.frames = g.frames[:before]
		s.mu.Unlock()
		s.metrics.refused.Add(float64(len(records)))
		return ErrFull
	}
	g.records += int64(len(records))
	s.pending.Add(int64(len(records)))
	s.mu.Unlock()
	signal(s.write)

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-g.done:
		return g.err
	case <-timer.C:
		s.metrics.doubtful.Add(float64(len(records)))
		return ErrDoubtful
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
