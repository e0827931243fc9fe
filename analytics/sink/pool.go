package sink

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool is the memory of fetched records between uses: a lane gives a record back as soon as it was
// taken, and a batch of the log's goes back with its last record. What is given up with its lane is left to
// the garbage collector.
type recordPool struct {
	bytes, records sync.Pool // of *[]byte and *[]kgo.Record
}

const (
	// usualRatio is what a batch of records is expected to grow by when it is decompressed.
	usualRatio = 6
	// maxPooledBytes and maxPooledRecords bound what is kept of one batch.
	maxPooledBytes   = 4 << 20
	maxPooledRecords = 1 << 15
)

// GetDecompressBytes answers memory for a batch of records; franz-go makes it larger where it has to.
func (p *recordPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if b, ok := p.bytes.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, usualRatio*len(compressed))
}

// PutDecompressBytes takes it back.
func (p *recordPool) PutDecompressBytes(b []byte) {
	if cap(b) <= maxPooledBytes {
		p.bytes.Put(&b)
	}
}

// GetRecords answers memory for n records.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if r, ok := p.records.Get().(*[]kgo.Record); ok && cap(*r) >= n {
		return *r
	}
	return make([]kgo.Record, n)
}

// PutRecords takes it back.
func (p *recordPool) PutRecords(r []kgo.Record) {
	if cap(r) <= maxPooledRecords {
		p.records.Put(&r)
	}
}
