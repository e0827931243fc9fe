package spool

import (
	"errors"
	"fmt"
	"path/filepath"
)

// runWriter commits what is gathered, again and again. It alone writes to the active segment.
func (s *Spool) runWriter() {
	for {
		select {
		case <-s.write:
		case <-s.quit:
			s.commit()
			return
		}
		s.commit()
	}
}

// commit writes and syncs what is gathered. While it is at work, the next group gathers.
func (s *Spool) commit() {
	s.mu.Lock()
	c := s.gather
	if c.records == 0 {
		s.mu.Unlock()
		return
	}
	s.gather, s.writing = newCommit(), true
	seg := s.active
	s.mu.Unlock()

	seg, err := s.put(seg, c.frames)

	s.mu.Lock()
	s.writing = false
	if err == nil {
		seg.size += int64(len(c.frames))
		s.bytes.Add(int64(len(c.frames)))
		s.metrics.appended.Add(float64(c.records))
		s.metrics.syncs.Inc()
		if seg.size >= s.cfg.SegmentBytes {
			seg.sealed, s.active = true, nil
		}
	} else {
		s.pending.Add(-c.records)
		s.metrics.failures.Inc()
	}
	s.mu.Unlock()
	if err != nil {
		if leftOut, ok := s.writeFailed.Now(); ok {
			s.log.Error("could not write to the spool", "spool", s.cfg.Name, "records", c.records, "error", err, "left_out", leftOut)
		}
		c.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	close(c.done)
	signal(s.drain)
}

// put appends frames to the active segment, a new one if there is none, and syncs. On an error the
// file is cut back to what it held and takes no more: after a failed fsync nobody knows which pages
// are on disk.
func (s *Spool) put(seg *segment, frames []byte) (*segment, error) {
	if seg == nil {
		var err error
		if seg, err = s.newSegment(); err != nil {
			return nil, err
		}
	}
	_, err := seg.file.WriteAt(frames, seg.size)
	if err == nil {
		err = seg.file.Sync()
	}
	if err == nil {
		return seg, nil
	}
	err = errors.Join(err, seg.file.Truncate(seg.size))
	s.mu.Lock()
	seg.sealed, s.active = true, nil
	s.mu.Unlock()
	return nil, err
}

func (s *Spool) newSegment() (*segment, error) {
	s.mu.Lock()
	name := fmt.Sprintf(segmentName, s.next)
	s.next++
	s.mu.Unlock()
	file, err := s.fs.Create(filepath.Join(s.cfg.Dir, name))
	if err != nil {
		return nil, fmt.Errorf("create spool segment: %w", err)
	}
	seg := &segment{name: name, file: file}
	s.mu.Lock()
	s.segments, s.active = append(s.segments, seg), seg
	s.mu.Unlock()
	return seg, nil
}
