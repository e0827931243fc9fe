package sink

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// A slab is large enough, not much larger than it has to be, and comes back to who asks for as much.
func TestSlabs(t *testing.T) {
	for n := 1; n < 1<<(maxSlab+1); n += 1 + n/9 {
		var s slabs[byte]
		slab := s.get(n)
		if len(slab) != 0 || cap(slab) < n || cap(slab) > n+n/4+1 {
			t.Errorf("%d asked for, %d made", n, cap(slab))
		}
		for _, grown := range []int{0, 1, cap(slab) / 8, cap(slab) / 2} {
			s.put(make([]byte, 0, cap(slab)+grown))
			for _, want := range []int{n, n + grown} {
				if again := s.get(want); len(again) != 0 || cap(again) < want || cap(again) > want+want/2+1 {
					t.Errorf("%d asked for, %d answered after %d were put back", want, cap(again), cap(slab)+grown)
				}
			}
		}
	}
}

// What one batch tells of the next is believed within reason: a sender whose events say nothing in many words
// must not make the sink ask for a thousand times what others sent.
func TestDecompressedSizeIsGuessed(t *testing.T) {
	var p recordPool
	for _, c := range []struct{ compressed, uncompressed, want int }{
		{100 << 10, 250 << 10, 2}, {1 << 10, 900 << 10, maxRatio}, {0, 0, maxRatio}, {100, 100, 1},
	} {
		p.OnFetchBatchRead(kgo.BrokerMetadata{}, "", 0, kgo.FetchBatchMetrics{CompressedBytes: c.compressed, UncompressedBytes: c.uncompressed})
		next := make([]byte, 300<<10)
		if got := cap(p.GetDecompressBytes(next, kgo.CodecSnappy)); got < c.want*len(next) || got > 2*(c.want*len(next)+bytes.MinRead) {
			t.Errorf("%d bytes for %d, after %d that were %d", got, len(next), c.compressed, c.uncompressed)
		}
	}
}

// spoiler is a pool that spoils what it gets back. All sinks of the rig have one, so that whatever of a record
// is used after its memory was given back is wrong in the tables.
type spoiler struct {
	recordPool
	spoiled atomic.Int64 // bytes
}

func (p *spoiler) PutDecompressBytes(b []byte) {
	for i := range b {
		b[i] = '#'
	}
	p.spoiled.Add(int64(len(b)))
	p.recordPool.PutDecompressBytes(b)
}

func (p *spoiler) PutRecords(records []kgo.Record) {
	for i := range records {
		records[i] = kgo.Record{Key: []byte("#"), Value: []byte("#"), Topic: "#", Partition: -1, Offset: -1, Timestamp: noon.AddDate(-30, 0, 0)}
	}
	p.recordPool.PutRecords(records)
}

// What the other tests find in the tables was in memory that is spoiled by then.
func TestMemoryIsSpoiled(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(record(event.TopicEvents, 0, page("m1", "d1")), record(event.TopicEvents, 0, page("m2", "d2")))
	r.reach(event.TopicEvents, 0, 2)
	if s.pool.(*spoiler).spoiled.Load() == 0 {
		t.Error("no record was given back, or none was compressed")
	}
}
