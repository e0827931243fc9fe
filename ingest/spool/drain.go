package spool

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// runDrain delivers the oldest records until the spool is empty, then waits for more.
func (s *Spool) runDrain(ctx context.Context, deliver Deliver) {
	for {
		seg := s.oldest()
		if seg == nil {
			select {
			case <-s.drain:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !s.try(ctx, func() error { return s.step(ctx, seg, deliver) }) {
			return
		}
	}
}

// try repeats f until it succeeds; false when ctx ended first.
func (s *Spool) try(ctx context.Context, f func() error) bool {
	wait := s.cfg.RetryAfter
	for {
		err := f()
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true
		}
		s.metrics.retries.Inc()
		if leftOut, ok := s.drainFailed.Now(); ok {
			s.log.Warn("could not drain the spool; trying again", "spool", s.cfg.Name, "error", err, "left_out", leftOut)
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, s.cfg.RetryMax)
		case <-ctx.Done():
			return false
		}
	}
}

// oldest is the segment to read on, or nil if all is delivered. Delivered segments go.
func (s *Spool) oldest() *segment {
	for {
		s.mu.Lock()
		if len(s.segments) == 0 {
			s.mu.Unlock()
			return nil
		}
		seg := s.segments[0]
		if seg.read < seg.size {
			s.mu.Unlock()
			return seg
		}
		if !seg.sealed {
			if s.writing || s.gather.records > 0 {
				s.mu.Unlock()
				return nil // the writer signals when it is done
			}
			seg.sealed, s.active = true, nil // an empty spool keeps no file
		}
		s.segments = s.segments[1:]
		s.bytes.Add(-seg.size)
		s.mu.Unlock()
		s.retire(seg)
	}
}

// step delivers the next records of a segment.
func (s *Spool) step(ctx context.Context, seg *segment, deliver Deliver) error {
	s.mu.Lock()
	view := *seg // its durable size, while the writer goes on
	s.mu.Unlock()
	c, err := s.readChunk(&view, view.read)
	if err != nil {
		return err
	}
	if len(c.records) > 0 {
		refused, err := deliver(ctx, c.records)
		if err != nil {
			return err
		}
		if err := s.putAside(refused); err != nil {
			return err
		}
		s.metrics.delivered.Add(float64(len(c.records) - len(refused)))
	}
	s.mu.Lock()
	seg.read, seg.lost = c.end, seg.lost+c.lost
	s.mu.Unlock()
	s.pending.Add(-int64(len(c.records)))
	return nil
}

// putAside keeps records that the log will never take in a file of their own: they were
// acknowledged, so an operator decides about them, and their successors go on.
func (s *Spool) putAside(records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	var frames []byte
	for _, r := range records {
		frames = appendFrame(frames, r)
	}
	name := fmt.Sprintf("refused-%d.frames", time.Now().UnixNano())
	file, err := s.fs.Create(filepath.Join(s.cfg.Dir, name))
	if err != nil {
		return fmt.Errorf("put refused records aside: %w", err)
	}
	defer func() { _ = file.Close() }() // synced before
	if _, err := file.WriteAt(frames, 0); err != nil {
		return fmt.Errorf("put refused records aside: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("put refused records aside: %w", err)
	}
	s.metrics.aside.Add(float64(len(records)))
	s.log.Error("the log refuses spooled records; they are put aside", "spool", s.cfg.Name, "file", name, "records", len(records))
	return nil
}
