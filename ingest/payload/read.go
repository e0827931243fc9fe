package payload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"
)

// Limits of reading, all sizes in bytes.
const (
	// firstBytes a body gets when it is announced, the rest as it comes.
	firstBytes = 2 << 10
	// keepBytes is the largest buffer that goes back to a pool; up to here memory is not charged.
	keepBytes = 64 << 10
	// rawBytes of a compressed body are collected before decompression starts, so that a client
	// that sends slowly holds what it sent and no decompressor.
	rawBytes = 1 << 20
	// largestPooled is the largest buffer beyond keepBytes that is kept for another body.
	largestPooled = 1 << 20
	// wholeBytes is from where on a body gets all of its memory at once. Growing further by steps would
	// leave copies behind that together take as much again.
	wholeBytes = 4 << 20
	// maxWindow is the largest look-back a zstd stream may ask for; brotli's is at most 16 MiB.
	maxWindow = 8 << 20
)

const (
	gzipOverhead = 18   // bytes of an empty gzip file, about
	gzipRatio    = 1032 // no deflate stream grows more than that

	// What a decompressor in use is charged.
	gzipBytes   = 64 << 10
	zstdBytes   = maxWindow
	brotliBytes = 16 << 20
)

// Reader reads bodies. It bounds the memory of all large bodies together: who comes when it is used
// up waits a little and is then refused with ErrBusy.
type Reader struct {
	budget *semaphore.Weighted
	wait   time.Duration
	gzip   sync.Pool
	zstd   sync.Pool
	brotli sync.Pool
	large  [pools]sync.Pool // of *[]byte: of 2, 4, 8, ... times keepBytes
}

const pools = 4 // log2(largestPooled / keepBytes)

// NewReader makes a reader whose large bodies take at most memory bytes together.
func NewReader(memory int64, wait time.Duration) *Reader {
	return &Reader{budget: semaphore.NewWeighted(memory), wait: wait}
}

// Buffer holds one body. The zero value is ready; it belongs to one request at a time.
type Buffer struct {
	B       []byte // the body, after Read
	raw     []byte // what is compressed
	src     bytes.Reader
	charged int64
}

// Source is a body on the wire.
type Source struct {
	Body     io.Reader
	Length   int    // of what is on the wire; -1 if unknown
	Encoding []byte // the Content-Encoding header
	Limit    int    // of the body after decompression, and on the wire
	Sniff    bool   // take what starts like gzip for gzip, whatever the header says
	// Arrived and Inflated, if set, are told how many bytes of a large body have come and were decompressed;
	// they may take their time.
	Arrived, Inflated func(n int)
}

// Read reads all of a body into b.B. It returns ErrTooLarge, ErrEncoding, ErrCorrupt, ErrBusy, or
// the connection's error.
func (r *Reader) Read(b *Buffer, s Source) error {
	encoding := encodingOf(s.Encoding)
	switch {
	case encoding == unsupported:
		return ErrEncoding
	case s.Length > s.Limit:
		return ErrTooLarge
	}
	if encoding == identity {
		var err error
		b.B, err = r.fill(b, b.B[:0], s.Body, s.Length, s.Limit, s.Arrived)
		if err != nil || !s.Sniff || !bytes.HasPrefix(b.B, gzipMagic) {
			return err
		}
		// The body turned out to be compressed: it is the raw part already.
		b.raw, b.B = b.B, b.raw[:0]
		b.src.Reset(b.raw)
		return r.decode(b, gzipped, &b.src, len(b.raw), s)
	}
	raw, err := r.fill(b, b.raw[:0], io.LimitReader(s.Body, rawBytes), min(s.Length, rawBytes), s.Limit, s.Arrived)
	b.raw = raw
	if err != nil {
		return err
	}
	b.src.Reset(raw)
	if len(raw) < rawBytes {
		return r.decode(b, encoding, &b.src, len(raw), s)
	}
	return r.decode(b, encoding, io.MultiReader(&b.src, s.Body), -1, s)
}

// fill appends src to dst until its end. length is how much is expected, -1 if unknown. Memory
// grows with what has come, not with what was announced: announcing costs a client nothing.
func (r *Reader) fill(b *Buffer, dst []byte, src io.Reader, length, limit int, worked func(n int)) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			next := max(2*cap(dst), 4<<10)
			switch {
			case length >= 0 && cap(dst) == 0:
				next = min(firstBytes, length+1) // one more, to see the end
			case length >= 0 && cap(dst) < wholeBytes:
				next = min(max(4*cap(dst), keepBytes), length+1)
			case length >= 0:
				next = length + 1
			case cap(dst) >= wholeBytes:
				next = limit + 1
			}
			var err error
			if dst, err = r.grow(b, dst, max(min(next, limit+1), cap(dst)+1)); err != nil {
				return dst, err
			}
		}
		n, err := src.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if worked != nil && len(dst) > keepBytes {
			worked(n)
		}
		if len(dst) > limit {
			return dst, ErrTooLarge
		}
		switch {
		case err == io.EOF && length > len(dst):
			return dst, io.ErrUnexpectedEOF
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

// grow moves dst to a capacity of at least n bytes, charging what exceeds keepBytes.
func (r *Reader) grow(b *Buffer, dst []byte, n int) ([]byte, error) {
	if n > keepBytes && n <= largestPooled {
		n = keepBytes << (classOf(n) + 1)
	}
	if err := r.charge(b, int64(n-max(cap(dst), keepBytes))); err != nil {
		return dst, err
	}
	bigger := append(r.buffer(n), dst...)
	r.keep(dst)
	return bigger, nil
}

// buffer is an empty one of n bytes.
func (r *Reader) buffer(n int) []byte {
	if n > keepBytes && n <= largestPooled {
		if kept, ok := r.large[classOf(n)].Get().(*[]byte); ok {
			return (*kept)[:0]
		}
	}
	return make([]byte, 0, n)
}

// keep takes a buffer that nobody reads any more for another body.
func (r *Reader) keep(buf []byte) {
	if n := cap(buf); n > keepBytes && n <= largestPooled && n == keepBytes<<(classOf(n)+1) {
		r.large[classOf(n)].Put(&buf)
	}
}

// classOf is which pool has buffers of n bytes, n from keepBytes + 1 to largestPooled.
func classOf(n int) int { return bits.Len(uint(n-1)/keepBytes) - 1 }

func (r *Reader) charge(b *Buffer, n int64) error {
	if n <= 0 {
		return nil
	}
	if !r.budget.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(context.Background(), r.wait)
		defer cancel()
		if r.budget.Acquire(ctx, n) != nil {
			return ErrBusy
		}
	}
	b.charged += n
	return nil
}

// Release gives b's memory back. If retained, somebody still reads b.B (the log's client, after we
// stopped waiting for it): that array is left to the garbage collector.
func (r *Reader) Release(b *Buffer, retained bool) {
	if b.charged > 0 {
		r.budget.Release(b.charged)
		b.charged = 0
	}
	switch {
	case retained:
		b.B = nil
	case cap(b.B) > keepBytes:
		r.keep(b.B)
		b.B = nil
	}
	if cap(b.raw) > keepBytes {
		r.keep(b.raw)
		b.raw = nil
	}
	b.src.Reset(nil)
}

type encoding uint8

const (
	identity encoding = iota
	gzipped
	zstandard
	brotlied
	unsupported
)

var gzipMagic = []byte{0x1f, 0x8b}

func encodingOf(header []byte) encoding {
	header = bytes.TrimSpace(header)
	for _, e := range [...]struct {
		name string
		is   encoding
	}{{"", identity}, {"identity", identity}, {"gzip", gzipped}, {"x-gzip", gzipped}, {"zstd", zstandard}, {"br", brotlied}} {
		if len(e.name) == len(header) && bytes.EqualFold(header, []byte(e.name)) {
			return e.is
		}
	}
	return unsupported
}

// decode decompresses src into b.B. rawLength is how much src holds, -1 if unknown.
func (r *Reader) decode(b *Buffer, e encoding, src io.Reader, rawLength int, s Source) error {
	var (
		weight int64
		pool   *sync.Pool
		hint   int
	)
	switch e {
	case gzipped:
		weight, pool = gzipBytes, &r.gzip
		if rawLength >= gzipOverhead { // its last bytes tell the length, unless they lie
			hint = min(int(binary.LittleEndian.Uint32(b.raw[rawLength-4:])), rawLength*gzipRatio, s.Limit)
		}
	case zstandard:
		weight, pool = zstdBytes, &r.zstd
	default:
		weight, pool = brotliBytes, &r.brotli
	}
	if err := r.charge(b, weight); err != nil {
		return err
	}
	err := r.inflate(b, pool, e, src, hint, s)
	r.budget.Release(weight)
	b.charged -= weight
	return classify(err)
}

func (r *Reader) inflate(b *Buffer, pool *sync.Pool, e encoding, src io.Reader, hint int, s Source) (err error) {
	d, err := open(pool, e, src)
	if err != nil {
		return err
	}
	b.B = b.B[:0]
	if hint >= cap(b.B) {
		if b.B, err = r.grow(b, b.B, hint+1); err != nil {
			return err
		}
	}
	b.B, err = r.fill(b, b.B, d, -1, s.Limit, s.Inflated)
	_ = d.Reset(nothing) // let go of the connection
	pool.Put(d)
	return err
}

type decompressor interface {
	io.Reader
	Reset(io.Reader) error
}

var nothing = bytes.NewReader(nil)

func open(pool *sync.Pool, e encoding, src io.Reader) (decompressor, error) {
	if d, ok := pool.Get().(decompressor); ok {
		return d, d.Reset(src)
	}
	switch e {
	case gzipped:
		d := new(gzip.Reader)
		return d, d.Reset(src)
	case zstandard:
		// One goroutine's work is the caller's: nothing runs behind our back, nothing to close.
		return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	}
	return brotli.NewReader(src), nil
}

// classify keeps the limits' and the connection's errors and calls the rest corrupt: decompressors
// have many words for it.
func classify(err error) error {
	var network interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, ErrTooLarge), errors.Is(err, ErrBusy), errors.As(err, &network):
		return err
	}
	return ErrCorrupt
}
