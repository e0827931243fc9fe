package sink

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/internal/event"
)

// BenchmarkSinkFetch is what the log's client does for each record after the network, with the memory of
// records that were taken and without. Some 60 MB of records are in the lanes' queues meanwhile.
func BenchmarkSinkFetch(b *testing.B) {
	const queued = 30
	records := shopRecords(2000, event.TopicEvents, 1)
	batch := recordBatch(b, records)
	fetch := func(b *testing.B, pool *recordPool, pools ...kgo.Pool) {
		o := kgo.ProcessFetchPartitionOpts{DisableCRCValidation: true, Topic: event.TopicEvents, Pools: pools}
		decompressor := kgo.DefaultDecompressor(pools...)
		hook := func(m kgo.FetchBatchMetrics) { pool.OnFetchBatchRead(kgo.BrokerMetadata{}, "", 0, m) }
		var queue [][]*kgo.Record
		rows, before := 0, machine.CPU()
		b.ReportAllocs()
		for b.Loop() {
			answer := kmsg.NewFetchResponseTopicPartition()
			answer.RecordBatches = batch
			p, _ := kgo.ProcessFetchPartition(o, &answer, decompressor, hook)
			if p.Err != nil || len(p.Records) != len(records) {
				b.Fatal(len(p.Records), p.Err)
			}
			if queue = append(queue, p.Records); len(queue) > queued {
				for _, r := range queue[0] {
					r.Recycle()
				}
				queue = queue[1:]
			}
			rows += len(records)
		}
		reportCPU(b, before, rows)
	}
	b.Run("pool", func(b *testing.B) { pool := &recordPool{}; fetch(b, pool, pool) })
	b.Run("none", func(b *testing.B) { fetch(b, &recordPool{}) })
}

// recordBatch is records as the edge sends them to the log.
func recordBatch(tb testing.TB, records []*kgo.Record) []byte {
	tb.Helper()
	var raw []byte
	for i, r := range records {
		one := binary.AppendVarint([]byte{0, 0}, int64(i))
		text := func(b []byte) { one = append(binary.AppendVarint(one, int64(len(b))), b...) }
		text(r.Key)
		text(r.Value)
		one = binary.AppendVarint(one, int64(len(r.Headers)))
		for _, h := range r.Headers {
			text([]byte(h.Key))
			text(h.Value)
		}
		raw = append(binary.AppendVarint(raw, int64(len(one))), one...)
	}
	compressor, err := kgo.DefaultCompressor(kgo.SnappyCompression())
	if err != nil {
		tb.Fatal(err)
	}
	compressed, codec := compressor.Compress(&bytes.Buffer{}, raw)
	batch := kmsg.RecordBatch{
		Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(len(records) - 1),
		NumRecords: int32(len(records)), Records: compressed,
	}
	const before = 12 // the length counts what is after it
	batch.Length = int32(len(batch.AppendTo(nil)) - before)
	return batch.AppendTo(nil)
}
