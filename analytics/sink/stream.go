package sink

import "encoding/binary"

// blockRows is how many rows go to the driver and the server at once. So many fit a processor's cache.
const blockRows = 4096

// stream is a run of values in ClickHouse's native format, cut where a block of rows ends: a column is one
// stream, or a few where it has lists or NULLs. It holds no pointers but its blocks', so that the garbage
// collector has nothing to look at, and it keeps its memory from one batch to the next.
type stream struct {
	buf    []byte   // the block being filled
	blocks [][]byte // that block's memory and the others'; those before n are full
	n      int
}

// turn begins the next block, which will be about as large as the last.
func (s *stream) turn() {
	size := len(s.buf) + len(s.buf)/8
	s.settle()
	s.n++
	if s.n == len(s.blocks) {
		s.blocks = append(s.blocks, make([]byte, 0, size))
	}
	s.buf = s.blocks[s.n][:0]
}

// settle puts the memory of the block being filled where it is found again: it may have grown.
func (s *stream) settle() {
	if s.n == len(s.blocks) {
		s.blocks = append(s.blocks, nil)
	}
	s.blocks[s.n] = s.buf
}

// block is what the stream has in one block.
func (s *stream) block(i int) []byte {
	if i == s.n {
		return s.buf
	}
	return s.blocks[i]
}

func (s *stream) reset() {
	s.settle()
	s.n, s.buf = 0, s.blocks[0][:0]
}

// memory is how many bytes the stream holds on to, after reset.
func (s *stream) memory() (n int) {
	for _, b := range s.blocks {
		n += cap(b)
	}
	return n
}

func (s *stream) byte(b byte) { s.buf = append(s.buf, b) }

func (s *stream) uint32(v uint32) { s.buf = binary.LittleEndian.AppendUint32(s.buf, v) }

func (s *stream) uint64(v uint64) { s.buf = binary.LittleEndian.AppendUint64(s.buf, v) }

// text is a String: its length and its bytes. Most are empty, nearly all are short.
func (s *stream) text(v string) {
	switch n := len(v); {
	case n == 0:
		s.buf = append(s.buf, 0)
		return
	case n < 0x80:
		s.buf = append(s.buf, byte(n))
	default:
		s.buf = binary.AppendUvarint(s.buf, uint64(n))
	}
	s.buf = append(s.buf, v...)
}
