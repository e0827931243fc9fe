package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/internal/event"
)

var benchAgents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
	"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
}

// shopRecords are n events of a shop, in the shares and sizes of a real one: about 700 bytes each.
func shopRecords(n int, topic string, seed uint64) []*kgo.Record {
	random := rand.New(rand.NewPCG(seed, 1))
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = shopRecord(random, topic, int64(i))
	}
	return records
}

func shopRecord(random *rand.Rand, topic string, offset int64) *kgo.Record {
	visitor := random.IntN(50_000)
	product := random.IntN(2_000)
	at := noon.Add(time.Duration(offset) * 50 * time.Millisecond)
	id := uuid.UUID{6: 0x70, 8: 0x80}
	for i := range 16 {
		if i != 6 && i != 8 {
			id[i] = byte(random.Uint32())
		}
	}
	common := fmt.Sprintf(`"message_id":"%s","anonymous_id":"5f0c%08x-7d1a-4c58-9f2b-3f1f9c10%04x","timestamp":"%s","sent_at":"%s",`+
		`"context":{"page":{"url":"https://shop.example/p/%d?utm_source=%s&utm_medium=cpc&utm_campaign=fall","referrer":"https://www.search.example/","title":"Product %d - Shop","path":"/p/%d"},`+
		`"user_agent":"%s","locale":"en-US","library":{"name":"keystone.js","version":"1.2.0"},"screen":{"width":1920,"height":1080}}`,
		id, visitor, visitor&0xffff, at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano), product, []string{"news", "search", "social"}[random.IntN(3)], product, product,
		benchAgents[random.IntN(len(benchAgents))])
	var specific string
	switch k := random.IntN(100); {
	case k < 60:
		specific = `"event_type":"page","event_name":"Product"`
	case k < 90:
		specific = fmt.Sprintf(`"event_type":"track","event_name":"Product Added","payload":{"product_id":"P-%04d","name":"Product %d","price":%d.99,"quantity":%d,"currency":"EUR"}`, product, product, product%200, 1+product%3)
	case k < 97:
		specific = fmt.Sprintf(`"event_type":"track","event_name":"Order Completed","payload":{"order_id":"O-%07d","revenue":%d.98,"currency":"EUR","products":[{"product_id":"P-%04d","quantity":1,"price":19.99},{"product_id":"P-%04d","quantity":2,"price":9.99}]}`, offset, product%500, product, product/2)
	default:
		specific = fmt.Sprintf(`"event_type":"identify","identity":"user%d@example.com","payload":{"name":"User %d","city":"Berlin"}`, visitor, visitor)
	}
	meta := event.Meta{Tenant: tenant, ReceivedAt: at.Add(time.Millisecond), KeyID: "trk_1", RequestID: id.String()[:18], IP: fmt.Sprintf("203.0.113.%d", visitor&0xff)}
	return &kgo.Record{Topic: topic, Offset: offset, Timestamp: at, Value: []byte("{" + common + "," + specific + "}"), Headers: meta.Headers()}
}

func benchSink(b testing.TB, r *rig) *Sink {
	cfg := DefaultConfig()
	cfg.Brokers = []string{"unused:1"}
	var s *Sink
	var err error
	if r == nil {
		s, err = New(cfg, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	} else {
		cfg.Brokers = r.brokers
		s, err = New(cfg, r.servers(r.dsn), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSink is the sink's own work on an event: decode, enrich, look for a repetition, fill the
// columns. No ClickHouse.
func BenchmarkSink(b *testing.B) { benchTake(b, 0) }

// BenchmarkSinkSeen is the same where as many messages are remembered as a sink does by default.
func BenchmarkSinkSeen(b *testing.B) { benchTake(b, DefaultConfig().SeenMessages) }

func benchTake(b *testing.B, seen int) {
	records := shopRecords(80*stretch, event.TopicEvents, 1)
	bytes := 0
	for _, r := range records {
		bytes += len(r.Value)
	}
	s := benchSink(b, nil)
	w := s.work(tp{event.TopicEvents, 0}, start{}).(*eventWork)
	random := rand.New(rand.NewPCG(1, 3))
	for i, some := 0, make([]uint64, rememberBlock); i < seen; i += len(some) {
		for j := range some {
			some[j] = random.Uint64()
		}
		w.messages.remember(noon, some)
	}
	b.SetBytes(int64(bytes / len(records)))
	b.ReportAllocs()
	var stretches []time.Duration
	rest, row, before := records, 0, machine.CPU()
	for ; b.Loop(); row++ {
		if row%stretch > 0 {
			continue // with the one before
		}
		began := time.Now()
		takeAll(b, w, rest[:stretch]...)
		stretches = append(stretches, time.Since(began))
		if rest = rest[stretch:]; len(rest) == 0 {
			rest = records
			w.abandon()
		}
	}
	reportCPU(b, before, b.N)
	if len(stretches) > 0 {
		slices.Sort(stretches)
		b.ReportMetric(float64(stretches[len(stretches)/2].Nanoseconds())/1e3/stretch, "p50-µs/row")
	}
}

// stretch is so few rows that most are taken before somebody else has the processor: the median of many tells
// what a row takes also where the machine's owner is busy and says nothing of it.
const stretch = 256

// reportCPU tells this process's processor time a row, which the clock does not where the machine is shared.
func reportCPU(b *testing.B, before time.Duration, rows int) {
	b.Helper()
	b.ReportMetric(float64((machine.CPU()-before).Nanoseconds())/1e3/float64(rows), "cpu-µs/row")
}

// BenchmarkSinkEngine is the same with the insert into a real engine, which shares the cores.
func BenchmarkSinkEngine(b *testing.B) {
	r := newRig(b)
	for _, size := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			records := shopRecords(size, event.TopicEvents, uint64(size))
			s := benchSink(b, r)
			w := s.work(tp{event.TopicEvents, 0}, start{}).(*eventWork)
			w.messages = newMessages(time.Hour, 1000)
			rows, spent, before := 0, time.Duration(0), machine.CPU()
			for n := int64(0); b.Loop(); n++ {
				begin := time.Now()
				takeAll(b, w, records...)
				w.batch.suspects = w.batch.suspects[:0]
				at := span{tp{event.TopicEvents, 0}, n * int64(size), (n+1)*int64(size) - 1, noon}
				if err := w.flush(b.Context(), at); err != nil {
					b.Fatal(err)
				}
				rows += size
				spent += time.Since(begin)
				w.messages = newMessages(time.Hour, 1000)
			}
			reportCPU(b, before, rows)
			b.ReportMetric(float64(rows)/spent.Seconds(), "rows/s")
		})
	}
	if testing.Verbose() {
		b.Log(r.ask(`SELECT name, type, formatReadableSize(data_compressed_bytes), formatReadableSize(data_uncompressed_bytes) FROM system.columns WHERE table = 'events' AND database = currentDatabase() AND data_compressed_bytes > 0 ORDER BY data_compressed_bytes DESC`))
		b.Log(r.ask(`SELECT sum(rows), sum(bytes_on_disk) / sum(rows), count() FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()`))
	}
}

// BenchmarkSinkLog is the whole role: from a log full of events to the table.
func BenchmarkSinkLog(b *testing.B) {
	const n = 200_000
	r := newRig(b)
	for b.Loop() {
		b.StopTimer()
		records := shopRecords(n, event.TopicEvents, rand.Uint64())
		for i, record := range records {
			record.Partition = int32(i % 2)
		}
		r.produce(records...)
		before := r.count()
		s := benchSink(b, r)
		begin := time.Now()
		b.StartTimer()
		if err := s.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		r.eventually("all rows", func() bool { return r.count() == before+n })
		b.ReportMetric(n/time.Since(begin).Seconds(), "rows/s")
		b.StopTimer()
		r.stop(s)
		b.StartTimer()
	}
}

func (r *rig) count() uint64 {
	var n uint64
	if err := r.conn.QueryRow(context.Background(), "SELECT count() FROM events").Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}
