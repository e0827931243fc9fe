package sink

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// raceEnabled: the race detector empties pools at random, so nothing can be said about allocations.
var raceEnabled bool

// The promise of the hot path: what taking a record costs once its batch, its caches and its buffers are as
// large as they get. It may fall, not rise.
func TestTakeAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	records := shopRecords(3*blockRows, event.TopicEvents, 1)
	w := takingWork(t)
	take := func() {
		takeAll(t, w, records...)
		// What a flush does, without ClickHouse. Not abandon: the pool may be emptied at any time.
		w.messages.giveUp(&w.batch.claims)
		w.batch.reset()
	}
	take()
	if n := testing.AllocsPerRun(5, take) / float64(len(records)); n > 0.001 {
		t.Errorf("%.4f allocations a record", n)
	}
}

// A record's memory is used again as soon as it was taken: nothing of it may be needed later.
func TestTakeKeepsNothingOfARecord(t *testing.T) {
	own, shared := takingWork(t), takingWork(t)
	var value, headers []byte // the memory of every record in turn
	for i, r := range append(shopRecords(500, event.TopicEvents, 2), oddRecords()...) {
		if i%7 == 0 { // it comes again, when the first is thought to be in the table
			for _, w := range []*eventWork{own, shared} {
				w.messages.remember(noon, w.hashesOf(t, r))
			}
		}
		takeAll(t, own, r)
		value = append(value[:0], r.Value...)
		again := &kgo.Record{Topic: r.Topic, Offset: r.Offset, Timestamp: r.Timestamp, Value: value}
		headers = headers[:0]
		for _, h := range r.Headers {
			headers = append(headers, h.Value...)
		}
		at := headers
		for _, h := range r.Headers {
			again.Headers = append(again.Headers, kgo.RecordHeader{Key: h.Key, Value: at[:len(h.Value):len(h.Value)]})
			at = at[len(h.Value):]
		}
		takeAll(t, shared, again)
		for _, b := range [][]byte{value, headers} {
			for j := range b {
				b[j] = '#'
			}
		}
	}
	for _, w := range []*eventWork{own, shared} {
		for i := range w.batch.suspects {
			w.batch.columns.add(&w.batch.suspects[i], w.tp)
		}
	}
	if len(own.batch.suspects) == 0 || own.batch.columns.rows != shared.batch.columns.rows {
		t.Fatalf("%d suspects; %d and %d rows", len(own.batch.suspects), own.batch.columns.rows, shared.batch.columns.rows)
	}
	same(t, own, shared)
}

// same wants the rows of two batches, and the messages they hold, to be the same to the byte.
func same(t *testing.T, want, got *eventWork) {
	t.Helper()
	for i, c := range want.batch.columns.all {
		for j, part := range c.streams {
			if !bytes.Equal(part.buf, got.batch.columns.all[i].streams[j].buf) {
				t.Errorf("column %s is another", c.name)
			}
		}
	}
	if !bytes.Equal(want.batch.claims.texts, got.batch.claims.texts) {
		t.Error("the messages are others")
	}
}

// Rows are the same whether their records are taken together or one by one.
func TestTogetherChangesNothing(t *testing.T) {
	together, alone := takingWork(t), takingWork(t)
	records := append(shopRecords(200, event.TopicEvents, 3), oddRecords()...)
	records = append(records, record(event.TopicEvents, 0, `{"event_type":"nonsense"}`))
	records = append(records, records[190:]...) // repeated, some of them with what they repeat
	takeAll(t, together, records...)
	for _, r := range records {
		takeAll(t, alone, r)
	}
	if n := together.batch.columns.rows; n != len(shopRecords(200, event.TopicEvents, 3))+len(oddRecords()) {
		t.Fatalf("%d rows", n)
	}
	same(t, alone, together)
}

// Of an erased person's message nothing is held: another message of that id is taken, also when it comes with it.
func TestErasedHoldNothing(t *testing.T) {
	w := takingWork(t)
	erasedOne := record(event.TopicEvents, 0, `{"message_id":"m","event_type":"page","anonymous_id":"ann"}`)
	other := record(event.TopicEvents, 1, `{"message_id":"m","event_type":"page","anonymous_id":"bob"}`)
	ann := tenantID{tenant, event.NodeID(tenant, event.KindAnonymous, "ann")}
	w.begin(&erased{
		tenants: map[uuid.UUID]struct{}{tenant: {}},
		nodes:   map[tenantID]event.Erasures{ann: {{Until: noon.Add(24 * time.Hour), At: noon.Add(24 * time.Hour)}}},
	})
	takeAll(t, w, erasedOne, other, other)
	if n := w.batch.columns.rows; n != 1 {
		t.Errorf("%d rows, want bob's", n)
	}
}

// What is kept of a large record is kept once, not for each of a group.
func TestTogetherIsBounded(t *testing.T) {
	large := record(event.TopicEvents, 0, `{"event_type":"page","anonymous_id":"d","payload":{"x":"`+strings.Repeat("x", groupBytes)+`"}}`)
	small := record(event.TopicEvents, 0, `{"event_type":"page","anonymous_id":"d"}`)
	for _, c := range []struct {
		records []*kgo.Record
		want    int
	}{
		{[]*kgo.Record{large, large, small}, 1}, {[]*kgo.Record{small, small, large, small}, 2}, {[]*kgo.Record{large, small}, 1},
		{slices.Repeat([]*kgo.Record{small}, 2*groupRecords), groupRecords}, {[]*kgo.Record{small}, 1},
		{shopRecords(100, event.TopicEvents, 1), groupRecords},
	} {
		if n, err := takingWork(t).take(t.Context(), c.records); err != nil || n != c.want {
			t.Errorf("took %d of %d, want %d: %v", n, len(c.records), c.want, err)
		}
	}
}

func takingWork(t *testing.T) *eventWork {
	t.Helper()
	return benchSink(t, nil).work(tp{event.TopicEvents, 0}, start{}).(*eventWork)
}

func takeAll(tb testing.TB, w *eventWork, records ...*kgo.Record) {
	tb.Helper()
	for len(records) > 0 {
		n, err := w.take(tb.Context(), records)
		if err != nil {
			tb.Fatal(err)
		}
		records = records[n:]
	}
}

// hashesOf is the hash of a record's message.
func (w *eventWork) hashesOf(t *testing.T, r *kgo.Record) []uint64 {
	t.Helper()
	var o opened
	if w.decoder.open(r, &o); o.err != nil {
		t.Fatal(o.err)
	}
	return []uint64{w.hasher.hash(o.message)}
}

// oddRecords are those whose texts are not in them as they are.
func oddRecords() []*kgo.Record {
	var records []*kgo.Record
	for i, value := range []string{
		`{"message_id":"escaped\u0041","anonymous_id":"d\n1","event_type":"track","event_name":"caf\u00e9","payload":{"order_id":"O\t1","currency":"eur","products":[{"sku":"a\\b"},{"id":7}]}}`,
		`{"message_id":"mended","anonymous_id":"d","event_type":"page","payload":{"x":"\ud800"},"context":{"page":{"url":"https://SHOP.example/?utm_source=a%20b","title":"\u00fc"}},"more":"\udfff"}`,
		`{"message_id":"alias","anonymous_id":"null","previous_id":"before","event_type":"alias","identity":"ann@example.com"}`,
		`{"message_id":"group","anonymous_id":"d","group_id":"g","event_type":"group","timestamp":"never"}`,
		`{"anonymous_id":"d","event_type":"page"}`,
	} {
		records = append(records, record(event.TopicEvents, 0, value, func(m *event.Meta) {
			m.KeyID, m.RequestID, m.UserAgent, m.JobID = "key", "request", "curl/8.5.0", "job"
			if i == 4 {
				m.MessageID = "minted"
			}
		}))
	}
	return records
}

// A batch counts all it is kept with: also what its last block of rows grew to, and the texts of suspects.
func TestBatchMemory(t *testing.T) {
	b := &eventBatch{columns: newEventColumns()}
	const large = 8 << 20
	var r row
	r.text[colPayload] = strings.Repeat("x", large)
	b.columns.add(&r, tp{event.TopicEvents, 0})
	b.suspects.add(&r, &b.texts)
	if b.reset(); b.memory() < 2*large || b.memory() > 3*large {
		t.Errorf("%d bytes for two rows of %d", b.memory(), large)
	}
	b.columns.add(&r, tp{event.TopicEvents, 0})
	b.suspects.add(&r, &b.texts)
	if b.reset(); b.memory() > 3*large {
		t.Errorf("%d bytes for two rows of %d, the second time", b.memory(), large)
	}
}
