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
	ratio   atomic.Int64 // of a batch's size to what is fetched of it, the last one's rounded up, or maxRatio
}

// maxRatio bounds the guess. One sender's batch may be a thousand times as large as what is fetched of it; the
// next ones are not, and all their memory would be cleared, and held until their last record is taken.
const maxRatio = 16

// OnFetchBatchRead learns how well the producers' batches are compressed.
func (p *recordPool) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressedBytes > 0 {
		p.ratio.Store(min(int64(m.UncompressedBytes/m.CompressedBytes)+1, maxRatio))
	}
}

// GetDecompressBytes answers memory for a batch of records; franz-go makes it larger where it has to.
func (p *recordPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	return p.bytes.get(int(p.ratio.Load())*len(compressed) + bytes.MinRead)
}

// PutDecompressBytes takes it back.
func (p *recordPool) PutDecompressBytes(b []byte) { p.bytes.put(b) }

// GetRecords answers memory for n records.
func (p *recordPool) GetRecords(n int) []kgo.Record { return p.records.get(n) }

// PutRecords takes it back.
func (p *recordPool) PutRecords(r []kgo.Record) { p.records.put(r) }

// maxSlab bounds what is kept: 2^maxSlab-1 items in one.
const maxSlab = 23

// slabs are pools of slices by their capacity. What is answered is less than four times as large as what was
// asked for, and mostly twice: franz-go clears all of it, and a small batch must not hold a large one's memory.
type slabs[T any] struct{ pools [maxSlab]sync.Pool }

func (s *slabs[T]) get(n int) []T {
	class := bits.Len(uint(max(n, 1) - 1))
	if class >= maxSlab {
		return make([]T, 0, n)
	}
	if slab, ok := s.pools[class].Get().(*[]T); ok {
		return (*slab)[:0]
	}
	return make([]T, 0, 1<<class)
}

func (s *slabs[T]) put(slab []T) {
	if class := bits.Len(uint(cap(slab))) - 1; class >= 0 && class < maxSlab {
		s.pools[class].Put(&slab)
	}
}
