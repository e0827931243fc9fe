package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// segment is one file. Its fields are guarded by Spool.mu, but for file and read, which are the
// drain's while it is the oldest; the file itself may be read and written at the same time.
type segment struct {
	name   string
	file   File
	size   int64 // what is durable: nobody reads beyond
	read   int64 // what is delivered
	lost   int64 // bytes of it that could not be read
	sealed bool  // nothing will be appended
}

// restore finds the segments of an earlier process. All of them are sealed: new records go to a new
// one, so that a torn tail is never appended to.
func (s *Spool) restore() error {
	names, err := s.fs.List(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list spool folder: %w", err)
	}
	slices.Sort(names)
	var numbers []uint64
	for _, name := range names {
		if n, ok := numberOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	for i, n := range numbers {
		s.next = n + 1
		if err := s.restoreSegment(fmt.Sprintf(segmentName, n), i == len(numbers)-1); err != nil {
			return err
		}
	}
	return nil
}

func numberOf(name string) (n uint64, ok bool) {
	if _, err := fmt.Sscanf(name, segmentName, &n); err != nil {
		return 0, false
	}
	return n, name == fmt.Sprintf(segmentName, n)
}

func (s *Spool) restoreSegment(name string, last bool) error {
	file, err := s.fs.Open(filepath.Join(s.cfg.Dir, name))
	if err != nil {
		return fmt.Errorf("open spool segment: %w", err)
	}
	size, err := file.Size()
	if err != nil {
		return errors.Join(fmt.Errorf("stat spool segment %s: %w", name, err), file.Close())
	}
	seg := &segment{name: name, file: file, size: size, sealed: true}
	var records, good, lost int64
	for at := int64(0); at < size; {
		chunk, err := s.readChunk(seg, at)
		if err != nil {
			return errors.Join(err, file.Close())
		}
		records += int64(len(chunk.records))
		at, lost = chunk.end, lost+chunk.lost
		if len(chunk.records) > 0 {
			good = chunk.lastGood
		}
	}
	if tail := size - good; lost > 0 && tail > 0 && last {
		// What the crash tore off was acknowledged to nobody.
		if err := file.Truncate(good); err != nil {
			return errors.Join(fmt.Errorf("cut spool segment %s: %w", name, err), file.Close())
		}
		s.log.Warn("cut the torn tail of a spool segment", "spool", s.cfg.Name, "segment", name, "bytes", tail)
		s.metrics.damaged.Add(float64(tail))
		seg.size, lost = good, lost-tail
	}
	if lost > 0 {
		s.log.Error("a spool segment is damaged; the rest of it will be delivered", "spool", s.cfg.Name, "segment", name, "bytes", lost)
	}
	s.segments = append(s.segments, seg)
	s.bytes.Add(seg.size)
	s.pending.Add(records)
	s.metrics.recovered.Add(float64(records))
	return nil
}

// chunk is what was read of a segment at once: records up to an offset.
type chunk struct {
	records  []*kgo.Record
	end      int64 // where the next chunk starts
	lastGood int64 // where its last record ended
	lost     int64 // bytes between records that are none
}

// readChunk reads records from an offset on, as many as one delivery may have. A damaged stretch is
// skipped up to the next frame that is whole. It makes progress unless at is the end.
func (s *Spool) readChunk(seg *segment, at int64) (chunk, error) {
	c := chunk{end: at}
	buf, err := read(seg, at, int64(s.cfg.DrainBytes))
	if err != nil {
		return c, err
	}
	for len(buf) > 0 && len(c.records) < s.cfg.DrainRecords {
		r, n, err := readFrame(buf)
		if errors.Is(err, errShort) && c.end+int64(len(buf)) < seg.size && (n == 0 || c.end+int64(n) <= seg.size) {
			if len(c.records) > 0 {
				return c, nil // it starts the next chunk
			}
			if buf, err = read(seg, c.end, int64(max(n, frameHead, s.cfg.DrainBytes))); err != nil {
				return c, err
			}
			if r, n, err = readFrame(buf); errors.Is(err, errShort) {
				err = errDamaged
			}
		}
		if err != nil {
			skip := nextFrame(buf)
			c.end += int64(skip)
			c.lost += int64(skip)
			buf = buf[skip:]
			continue
		}
		c.records = append(c.records, r)
		c.end += int64(n)
		c.lastGood = c.end
		buf = buf[n:]
	}
	return c, nil
}

// nextFrame is how far it is from the start of b to what looks like the next frame, or nearly to its
// end, where a magic may begin.
func nextFrame(b []byte) int {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], frameMagic)
	if i := bytes.Index(b[1:], magic[:]); i >= 0 {
		return i + 1
	}
	return max(1, len(b)-len(magic)+1)
}

func read(seg *segment, at, n int64) ([]byte, error) {
	buf := make([]byte, min(n, seg.size-at))
	if got, err := seg.file.ReadAt(buf, at); got < len(buf) {
		return nil, fmt.Errorf("read spool segment %s at %d: %w", seg.name, at, err)
	}
	return buf, nil
}

// retire deletes a delivered segment, or keeps it under another name if parts were unreadable.
func (s *Spool) retire(seg *segment) {
	path := filepath.Join(s.cfg.Dir, seg.name)
	err := seg.file.Close()
	if seg.lost > 0 {
		s.metrics.damaged.Add(float64(seg.lost))
		err = errors.Join(err, s.fs.Rename(path, strings.TrimSuffix(path, ".seg")+".damaged"))
	} else {
		err = errors.Join(err, s.fs.Remove(path))
	}
	if err != nil {
		s.log.Error("could not remove a delivered spool segment; it will be delivered again after a restart",
			"spool", s.cfg.Name, "segment", seg.name, "error", err)
	}
}
