package sink

import (
	"bytes"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool is the memory of fetched records between uses: a lane gives a record back as soon as it was
// taken, and a batch of the log's goes back with its last record. What is given up with its lane is left to
// the garbage collector.
type recordPool struct {
	bytes   slabs[byte]
	records slabs[kgo.Record]
	ratio   atomic.Int64 // of a batch's size to what is fetched of it, in sixteenths: the last one's, and some more, or maxRatio
}

// maxRatio bounds the guess. One sender's batch may be a thousand times as large as what is fetched of it; the
// next ones are not, and all their memory would be cleared, and held until their last record is taken.
const maxRatio = 16

// OnFetchBatchRead learns how well the producers' batches are compressed.
func (p *recordPool) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressedBytes > 0 {
		p.ratio.Store(min(int64(16*m.UncompressedBytes/m.CompressedBytes)+2, 16*maxRatio))
	}
}

// GetDecompressBytes answers memory for a batch of records; franz-go makes it larger where it has to.
func (p *recordPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	return p.bytes.get(int(p.ratio.Load())*len(compressed)/16 + bytes.MinRead)
}

// PutDecompressBytes takes it back.
func (p *recordPool) PutDecompressBytes(b []byte) { p.bytes.put(b) }

// GetRecords answers memory for n records.
func (p *recordPool) GetRecords(n int) []kgo.Record { return p.records.get(n) }

// PutRecords takes it back.
func (p *recordPool) PutRecords(r []kgo.Record) { p.records.put(r) }

// slabs are pools of slices by their capacity, four of them to a power of two. What is answered is at most a
// half larger than what was asked for: franz-go clears all of it, the budget knows only of what is in it, and
// a small batch must not hold a large one's memory.
type slabs[T any] struct{ pools [8 * maxSlab]sync.Pool }

// maxSlab bounds what is kept: less than 2^maxSlab items in one.
const maxSlab = 23

func (s *slabs[T]) get(n int) []T {
	shift := max(bits.Len(uint(n))-3, 0)
	size := (n>>shift + 1) << shift
	if pool := s.pool(size); pool != nil {
		if slab, ok := pool.Get().(*[]T); ok {
			return (*slab)[:0]
		}
	}
	return make([]T, 0, size)
}

func (s *slabs[T]) put(slab []T) {
	if pool := s.pool(cap(slab)); pool != nil {
		pool.Put(&slab)
	}
}

// pool is where slices of a capacity are, and others that are larger by less than a quarter: the highest three
// bits of it are the same.
func (s *slabs[T]) pool(size int) *sync.Pool {
	length := bits.Len(uint(size))
	if length > maxSlab || length == 0 {
		return nil
	}
	shift := max(length-3, 0)
	return &s.pools[8*shift+size>>shift]
}
