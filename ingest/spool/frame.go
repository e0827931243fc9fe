package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A frame is one record on disk, all numbers little endian:
//
//	magic u32 | length u32 of the payload | crc32c u32 of length and payload | payload
//
// and the payload is, with uvarint lengths:
//
//	key | value | number of headers | (key | value) of each header
//
// The record's timestamp is not kept: the log's client may be writing it while we read (received_at
// is a header). The magic lets a reader find the next frame behind a damaged one.
const (
	frameMagic  = 0x3153464b // "KFS1"
	frameHead   = 12
	frameMax    = 16 << 20 // no frame of ours is longer: an event is at most a megabyte
	maxHeaders  = 64
	segmentName = "%020d.seg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(dst []byte, r *kgo.Record) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frameHead)...)
	dst = appendBytes(dst, r.Key)
	dst = appendBytes(dst, r.Value)
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = binary.AppendUvarint(dst, uint64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	head, payload := dst[start:start+frameHead], dst[start+frameHead:]
	binary.LittleEndian.PutUint32(head, frameMagic)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[8:], frameSum(head[4:8], payload))
	return dst
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func frameSum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// What readFrame may find.
var (
	errShort   = errors.New("the frame is not all there")
	errDamaged = errors.New("the frame is damaged")
)

// readFrame reads the frame at the start of b and tells its length. The record's slices point into
// b. errShort: with more bytes it may be one; errDamaged: it is none.
func readFrame(b []byte) (r *kgo.Record, n int, err error) {
	if len(b) < frameHead {
		return nil, 0, errShort
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if binary.LittleEndian.Uint32(b) != frameMagic || length > frameMax {
		return nil, 0, errDamaged
	}
	n = frameHead + int(length)
	if len(b) < n {
		return nil, n, errShort
	}
	payload := b[frameHead:n:n]
	if frameSum(b[4:8], payload) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, 0, errDamaged
	}
	if r = readPayload(payload); r == nil {
		return nil, 0, errDamaged
	}
	return r, n, nil
}

func readPayload(b []byte) *kgo.Record {
	c := cursor{b: b, ok: true}
	r := &kgo.Record{Key: c.bytes(), Value: c.bytes()}
	count := c.uvarint()
	if count > maxHeaders {
		return nil
	}
	for range count {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(c.bytes()), Value: c.bytes()})
	}
	if !c.ok || len(c.b) > 0 {
		return nil
	}
	return r
}

type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.ok, c.b = false, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.ok, c.b = false, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}
