package consume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

func (r *rig) end(topic string) (n int64) {
	r.t.Helper()
	ends, err := kadm.NewClient(r.client).ListEndOffsets(r.t.Context(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// Events go in at one end; profiles, orders and changes come out at the others.
func TestEventsBecomeState(t *testing.T) {
	r := newRig(t, 2)
	for i := range 40 {
		r.send(r.record(event.TopicEvents, int32(i%2), r.page(i, fmt.Sprintf("device-%d", i%10))))
	}
	r.send(
		r.record(event.TopicEvents, 0, `{"message_id":"login","anonymous_id":"device-0","identity":"Ann@Example.com","event_type":"identify","payload":{"city":"Miami\u0000"}}`),
		r.record(event.TopicEvents, 0, `{"message_id":"buy\u0000","anonymous_id":"device-0","event_type":"track","event_name":"Order Completed","payload":{"order_id":"o\u00001","total":"19.90","products":[{"sku":"p\u0000","quantity":2,"price":9.95}]}}`),
		r.record(event.TopicEvents, 0, r.page(0, "device-0")), // a client's retry
		r.record(event.TopicBackfill, 0, `{"message_id":"old","identity":"ann@example.com","event_type":"identify","timestamp":"2020-01-01T00:00:00Z","payload":{"city":"Chicago","plan":"free"}}`),
	)
	x := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 23)
	r.at(event.TopicEvents, 1, 20)
	r.at(event.TopicBackfill, 0, 1)

	live := map[uuid.UUID]*store.ProfileRow{}
	tombstones := 0
	for p, err := range r.states.Profiles(t.Context(), r.tenant, true) {
		if err != nil {
			t.Fatal(err)
		}
		if p.MergedInto == nil {
			live[p.ProfileID] = p
		} else {
			tombstones++
		}
	}
	ann := live[event.NodeID(r.tenant, event.KindEmail, "ann@example.com")]
	if ann == nil || len(live) != 10 || tombstones != 1 || r.counted() != 43 {
		t.Fatalf("%d live profiles, %d tombstones, %d events counted", len(live), tombstones, r.counted())
	}
	if ann.EventCount != 7 || ann.Kind != "anchor" || len(ann.Identifiers) != 2 || string(ann.Attributes) != `{"city":"Miami�","plan":"free"}` {
		t.Errorf("%+v %s", ann, ann.Attributes)
	}
	for o, err := range r.states.Orders(t.Context(), r.tenant) {
		if err != nil || o.ProfileID != ann.ProfileID || o.Status != "completed" || o.OrderID != "o\uFFFD1" || o.Total != "19.9" && o.Total != "19.90" || o.Items[0].ProductID != "p\uFFFD" {
			t.Errorf("%+v, %v", o, err)
		}
	}
	changes := latest(t, r.read(event.TopicChanges))
	for id, p := range live {
		if c := changes[id]; c.Version != p.Version || c.EventCount != p.EventCount {
			t.Errorf("profile %s: the column store hears %+v, the store has %+v", id, c, p)
		}
	}
	// A batch of nothing but repetitions has no changes to wait for, and is counted after its commit.
	eventually(t, "44 records counted", func() bool { return x.metric("keystone_processor_records_total") == 44 })
	if n := x.metric("keystone_processor_records_total", "result", "duplicate"); n != 1 {
		t.Errorf("%v duplicates", n)
	}
	if err := x.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the group's offsets", func() bool {
		offsets, err := kadm.NewClient(r.client).FetchOffsets(t.Context(), DefaultConfig().Group)
		o, ok := offsets.Lookup(event.TopicEvents, 0)
		return err == nil && ok && o.At == 23
	})
}

// A group commit that is refused, partition by partition, is made again, though nothing has moved.
func TestGroupCommitRefused(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := newRigOn(t, cluster.ListenAddrs(), 1)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress})
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")))
	r.start(nil, nil)
	r.at(event.TopicEvents, 0, 1)
	eventually(t, "the group's offset", func() bool {
		offsets, err := kadm.NewClient(r.client).FetchOffsets(t.Context(), DefaultConfig().Group)
		o, ok := offsets.Lookup(event.TopicEvents, 0)
		return err == nil && ok && o.At == 1
	})
}

// A restart goes on where the offset row is, though the group has forgotten everything.
func TestRestart(t *testing.T) {
	r := newRig(t, 1)
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")), r.record(event.TopicEvents, 0, r.page(2, "b")))
	x := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 2)
	x.end()
	if _, err := kadm.NewClient(r.client).DeleteGroups(t.Context(), DefaultConfig().Group); err != nil {
		t.Fatal(err)
	}
	r.send(r.record(event.TopicEvents, 0, r.page(3, "a")))
	x = r.start(nil, nil)
	r.at(event.TopicEvents, 0, 3)
	if n := x.metric("keystone_processor_records_total"); n != 1 || r.counted() != 3 {
		t.Errorf("%v records after the restart, %d events counted", n, r.counted())
	}
}

// What cannot be an event ends in the dead-letter queue and in the job's count; its neighbours do not.
func TestDeadLetters(t *testing.T) {
	r := newRig(t, 1)
	stranger := r.record(event.TopicEvents, 0, r.page(9, "x"))
	stranger.Headers = (&event.Meta{Tenant: uuid.New(), ReceivedAt: r.clock}).Headers()
	bare := r.record(event.TopicEvents, 0, r.page(9, "x"))
	bare.Headers = []kgo.RecordHeader{{Key: "other", Value: []byte("kept")}}
	r.send(
		r.record(event.TopicEvents, 0, r.page(1, "a")),
		r.record(event.TopicEvents, 0, `{"event_type":"page","secret-value`),
		r.record(event.TopicEvents, 0, `{"event_type":"page","anonymous_id":"null"}`),
		stranger,
		bare,
		r.record(event.TopicEvents, 0, r.page(2, "b")),
	)
	x := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 6)
	if n := r.counted(); n != 2 {
		t.Errorf("%d events counted", n)
	}
	var reasons []string
	for _, d := range r.read(event.TopicDLQ) {
		reasons = append(reasons, header(d, HeaderReason)+"@"+header(d, HeaderOffset))
		if strings.Contains(header(d, HeaderError), "secret") || header(d, HeaderTopic) != event.TopicEvents || !strings.Contains(header(d, HeaderAttempts), header(d, HeaderReason)) {
			t.Errorf("%+v", d.Headers)
		}
		if header(d, HeaderReason) == ReasonBadRecord && header(d, "other") != "kept" {
			t.Error("an original header is gone")
		}
	}
	want := []string{"invalid_event@1", "no_identifier@2", "unknown_tenant@3", "bad_record@4"}
	slices.Sort(want)
	slices.Sort(reasons)
	if !slices.Equal(reasons, want) {
		t.Errorf("dead letters %v, not %v", reasons, want)
	}
	listed := 0
	for d, err := range r.states.DeadLetters(t.Context(), r.tenant) {
		if err != nil || d.JobID != "job-1" {
			t.Errorf("%+v, %v", d, err)
		}
		listed++
	}
	if listed != 2 || x.metric("keystone_processor_dead_letters_total") != 4 {
		t.Errorf("%d dead letters of the tenant, %v counted", listed, x.metric("keystone_processor_dead_letters_total"))
	}
}

// Another producer's record may be larger than any of ours once it is unpacked, in every part of it.
// Its dead letter still fits the log: one that did not would hold the partition up for ever.
func TestDeadLetterOfALargeRecord(t *testing.T) {
	r := newRig(t, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ProducerBatchMaxBytes(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	large := bytes.Repeat([]byte("x"), 3<<20)
	value, key, headers := r.record(event.TopicEvents, 0, string(large)), r.record(event.TopicEvents, 0, "{}"), r.record(event.TopicEvents, 0, "{}")
	key.Key = large
	headers.Headers = append(headers.Headers, kgo.RecordHeader{Key: "h", Value: large})
	for _, record := range []*kgo.Record{value, key, headers} {
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r.start(nil, nil)
	r.at(event.TopicEvents, 0, 3)
	omitted := map[string]string{}
	for _, d := range r.read(event.TopicDLQ) {
		omitted[header(d, HeaderOffset)] = fmt.Sprint(header(d, HeaderValueOmitted), "|", header(d, HeaderRestOmitted) != "", "|", string(d.Key), "|", header(d, event.HeaderTenant) != "")
	}
	if want := map[string]string{"0": "3145728|false|key|true", "1": "2|true||false", "2": "2|true||false"}; !maps.Equal(omitted, want) {
		t.Errorf("%v, want %v", omitted, want)
	}
}

// refusing is a store that cannot hold one message.
type refusing struct {
	Store
	message string
	calls   atomic.Int64
}

func (s *refusing) Apply(ctx context.Context, b *store.Batch) (store.Outcome, error) {
	for _, e := range b.Events {
		if e.MessageID == s.message {
			s.calls.Add(1)
			return store.Outcome{}, errors.New("cannot be stored")
		}
	}
	return s.Store.Apply(ctx, b)
}

// A poison record in the middle of a batch ends alone in the dead-letter queue.
func TestCase_61_poison_in_mid_batch(t *testing.T) {
	r := newRig(t, 1)
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, r.record(event.TopicEvents, 0, r.page(i, "device")))
	}
	r.send(records...)
	states := &refusing{Store: r.states, message: "m37"}
	r.start(states, nil)
	r.at(event.TopicEvents, 0, 100)
	if n := r.counted(); n != 99 {
		t.Errorf("%d events counted", n)
	}
	dead := r.read(event.TopicDLQ)
	if len(dead) != 1 || header(dead[0], HeaderOffset) != "37" || header(dead[0], HeaderReason) != ReasonNotApplied || string(dead[0].Value) != string(records[37].Value) {
		t.Errorf("%d dead letters: %+v", len(dead), dead[0].Headers)
	}
	if n := states.calls.Load(); n > 20 {
		t.Errorf("%d attempts", n)
	}
}

// A store that refuses everything is our fault, not the records': processing stops and says so.
func TestMassPoisonIsFatal(t *testing.T) {
	r := newRig(t, 1)
	for i := range 20 {
		r.send(r.record(event.TopicEvents, 0, fmt.Sprintf(`{"message_id":"same","anonymous_id":"d%d","event_type":"page"}`, i)))
	}
	x := r.start(&refusing{Store: r.states, message: "same"}, func(c *Config) { c.MaxPoisoned = 5 })
	select {
	case <-x.Failed():
	case <-time.After(patience):
		t.Fatal("it went on")
	}
	if x.Err() == nil || x.Ready(t.Context()) == nil {
		t.Error("a failure, and nobody is told")
	}
	if n := len(r.read(event.TopicDLQ)); n != 5 {
		t.Errorf("%d dead letters", n)
	}
}

// A processor died between its commit and producing; the next one produces what it left, and goes on.
func TestCase_17_crash_between_commit_and_produce(t *testing.T) {
	r := newRig(t, 1)
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")), r.record(event.TopicEvents, 0, r.page(2, "b")))
	r.crash(1)
	if len(r.read(event.TopicChanges)) != 0 {
		t.Fatal("nothing should have been produced yet")
	}
	x := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 2)
	if got := latest(t, r.read(event.TopicChanges)); len(got) != 2 || r.counted() != 2 {
		t.Errorf("%d profiles told, %d events counted", len(got), r.counted())
	}
	if n := x.metric("keystone_outbox_repeated_batches_total"); n != 1 {
		t.Errorf("%v batches repeated", n)
	}
}

// crash applies the next n records of partition 0 as a process does that dies before it produces.
func (r *rig) crash(n int) {
	r.t.Helper()
	if err := r.applyNext(n); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) applyNext(n int) error {
	claim, next, err := r.states.Claim(r.t.Context(), event.TopicEvents, 0, "victim")
	if err != nil {
		return err
	}
	settings, err := r.plane.Settings(r.t.Context(), []uuid.UUID{r.tenant})
	if err != nil {
		return err
	}
	d := decoder{Decoder: Decoder{Limits: event.DefaultLimits()}, metrics: NewMetrics(prometheus.NewRegistry())}
	items, _ := d.meta(r.read(event.TopicEvents)[next : next+int64(n)])
	d.events(items, settings)
	for i := range items {
		if sc := r.tracer.Of(items[i].record.Headers); sc.IsValid() {
			items[i].event.Trace = trace.Text(sc)
		}
	}
	b := &store.Batch{Claim: claim, Offset: next, NextOffset: next + int64(n), Settings: settings}
	for _, it := range items {
		b.Events = append(b.Events, *it.event)
	}
	_, err = r.states.Apply(r.t.Context(), b)
	return err
}

// The state store goes away under load, twice, and comes back: everything counts once.
func TestStoreDownForAWhile(t *testing.T) {
	r := newRig(t, 2)
	proxy, err := faultproxy.Start(r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	_, states := r.open(proxy.DSN())
	proxy.Down()
	x := r.start(states, nil) // it starts all the same
	sent := 0
	for range 2 {
		for range 50 {
			r.send(r.record(event.TopicEvents, int32(sent%2), r.page(sent, fmt.Sprint("d", sent%7))))
			sent++
		}
		eventually(t, "attempts", func() bool { return x.metric("keystone_processor_retries_total", "kind", "store") > 2 })
		proxy.Up()
		r.at(event.TopicEvents, 0, int64(sent/2))
		r.at(event.TopicEvents, 1, int64(sent/2))
		proxy.Down()
	}
	proxy.Up()
	if n := r.counted(); n != int64(sent) {
		t.Errorf("%d events counted, not %d", n, sent)
	}
}

// Somebody claims the partition although it is assigned here: the batch is dropped, and after a while
// the partition is claimed back.
func TestFencedAndBack(t *testing.T) {
	r := newRig(t, 1)
	x := r.start(nil, nil)
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")))
	r.at(event.TopicEvents, 0, 1)
	if _, _, err := r.states.Claim(t.Context(), event.TopicEvents, 0, "somebody"); err != nil {
		t.Fatal(err)
	}
	r.send(r.record(event.TopicEvents, 0, r.page(2, "a")))
	r.at(event.TopicEvents, 0, 2)
	if x.metric("keystone_processor_fenced_batches_total") != 1 || r.counted() != 2 {
		t.Errorf("%v batches fenced, %d events counted", x.metric("keystone_processor_fenced_batches_total"), r.counted())
	}
}

// reclaimed is a store in which something happens before a partition is claimed again.
type reclaimed struct {
	Store
	claims atomic.Int64
	before func() error
}

func (s *reclaimed) Claim(ctx context.Context, topic string, partition int32, owner string) (store.Claim, int64, error) {
	if topic == event.TopicEvents && s.claims.Add(1) == 2 {
		if err := s.before(); err != nil {
			return store.Claim{}, 0, err
		}
	}
	return s.Store.Claim(ctx, topic, partition, owner)
}

// Another owner has a partition for a while, commits a batch and dies before it produces. Whoever
// claims the partition back produces that batch before its own.
func TestFencedAndBackWithTheOthersOutbox(t *testing.T) {
	r := newRig(t, 1)
	states := &reclaimed{Store: r.states, before: func() error { return r.applyNext(1) }}
	r.start(states, nil)
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")))
	r.at(event.TopicEvents, 0, 1)
	if _, _, err := r.states.Claim(t.Context(), event.TopicEvents, 0, "somebody"); err != nil {
		t.Fatal(err)
	}
	r.send(r.record(event.TopicEvents, 0, r.page(2, "b")))
	eventually(t, "the other's batch", func() bool { return r.counted() == 2 })
	r.send(r.record(event.TopicEvents, 0, r.page(3, "c")))
	r.at(event.TopicEvents, 0, 3)
	if got := latest(t, r.read(event.TopicChanges)); len(got) != 3 {
		t.Errorf("the changes tell of %d profiles, not 3", len(got))
	}
}

// A fetch that was set back (the client thinks the log was cut) delivers records again, in the middle
// of a batch: the offset row does not go back with them.
func TestRecordsDeliveredAgainInMidBatch(t *testing.T) {
	r := newRig(t, 1)
	x := r.start(nil, nil)
	for i := range 10 {
		r.send(r.record(event.TopicEvents, 0, r.page(i, "a")))
	}
	r.at(event.TopicEvents, 0, 10)
	old := r.read(event.TopicEvents)
	var next []*kgo.Record
	for i := range 2 {
		n := r.record(event.TopicEvents, 0, r.page(10+i, "a"))
		n.Offset = int64(10 + i)
		next = append(next, n)
	}
	x.worker(place{event.TopicEvents, 0}).put([]*kgo.Record{next[0], old[2], old[3], next[1], old[4]}, 12)
	r.at(event.TopicEvents, 0, 12)
	if n := r.counted(); n != 12 {
		t.Errorf("%d events counted", n)
	}
}

// Processes come and go while events flow; every event counts once.
func TestRebalance(t *testing.T) {
	r := newRig(t, 4)
	first := r.start(nil, nil)
	sent := make([]int64, 4)
	total := 0
	flow := func(n int) {
		for range n {
			r.send(r.record(event.TopicEvents, int32(total%4), r.page(total, fmt.Sprint("d", total%11))))
			sent[total%4]++
			total++
		}
	}
	flow(40)
	r.start(nil, nil)
	flow(40)
	first.end()
	flow(40)
	for p, n := range sent {
		r.at(event.TopicEvents, int32(p), n)
	}
	if n := r.counted(); n != int64(total) {
		t.Errorf("%d events counted, not %d", n, total)
	}
}

// A log that ends before the offset row is another log: going on would lose what comes.
func TestLogWasReplaced(t *testing.T) {
	r := newRig(t, 1)
	if _, _, err := r.states.Claim(t.Context(), event.TopicEvents, 0, "before"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pool.Exec(t.Context(), `UPDATE processor_offsets SET next_offset = 500`); err != nil {
		t.Fatal(err)
	}
	r.send(r.record(event.TopicEvents, 0, r.page(1, "a")))
	x := r.start(nil, func(c *Config) { c.LogBehind = 100 * time.Millisecond })
	select {
	case <-x.Failed():
	case <-time.After(patience):
		t.Fatal("it went on")
	}
	if !errors.Is(x.Err(), errLogBehind) {
		t.Error(x.Err())
	}
}

// A state store that is older than what the group was told was restored: what was processed since would be
// processed again, and the column store would take its changes for repetitions.
func TestStoreWasRestored(t *testing.T) {
	r := newRig(t, 1)
	for i := range 10 {
		r.send(r.record(event.TopicEvents, 0, r.page(i, "a")))
	}
	first := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 10)
	first.end()
	if _, err := r.pool.Exec(t.Context(), `UPDATE processor_offsets SET next_offset = 4 WHERE topic = $1`, event.TopicEvents); err != nil {
		t.Fatal(err)
	}
	x := r.start(nil, nil)
	select {
	case <-x.Failed():
	case <-time.After(patience):
		t.Fatal("it went on")
	}
	if !errors.Is(x.Err(), ErrStoreBehind) {
		t.Error(x.Err())
	}
}

// Records that retention took before they were processed are missed loudly.
func TestHoleInTheLog(t *testing.T) {
	r := newRig(t, 1)
	for i := range 10 {
		r.send(r.record(event.TopicEvents, 0, r.page(i, "a")))
	}
	r.crash(2)
	if _, err := kadm.NewClient(r.client).DeleteRecords(t.Context(), kadm.OffsetsFromRecords(kgo.Record{Topic: event.TopicEvents, Offset: 6})); err != nil {
		t.Fatal(err)
	}
	x := r.start(nil, nil)
	r.at(event.TopicEvents, 0, 10)
	if n := x.metric("keystone_processor_missing_records_total"); n < 4 || n > 5 || int64(n)+r.counted() != 10 {
		t.Errorf("%v missing, %d counted", n, r.counted())
	}
}
