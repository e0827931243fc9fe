package edge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/internal/event"
)

// impatient gives the log little time, so that an outage is noticed soon.
func impatient(c *produce.Config) { c.AckWithin = 300 * time.Millisecond }

// outage makes the log answer every produce request with an error that asks to try again.
func (r *rig) outage() (end func()) {
	f := r.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	return f.Remove
}

// atLeast reads a topic until it has n different message ids, in log order.
func (r *rig) atLeast(topic string, n int) (records []*kgo.Record, ids []string) {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	seen := map[string]bool{}
	for deadline := time.Now().Add(patience); len(seen) < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d messages", len(seen), n)
		}
		client.PollFetches(r.t.Context()).EachRecord(func(rec *kgo.Record) {
			records = append(records, rec)
			l := &logged{Record: rec}
			if l.meta, err = event.ReadMeta(rec.Headers); err != nil {
				r.t.Fatal(err)
			}
			if err := l.ev.Decode(rec.Value, event.DefaultLimits()); err != nil {
				r.t.Fatal(err)
			}
			if id := l.messageID(); !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		})
	}
	return records, ids
}

// Clients see nothing of an outage, and afterwards the log has all of it in order.
func TestOutage(t *testing.T) {
	r := newRig(t, options{lane: impatient})
	if a := r.post("/ingest", trackerKey, jsonType, ev("0-000")); a.status != 200 {
		t.Fatal(a.status)
	}
	const users, each = 4, 60
	var wg sync.WaitGroup
	end := func() {}
	for i := range each {
		if i == each/3 {
			end = r.outage()
		}
		if i == 2*each/3 {
			end()
		}
		for u := range users {
			wg.Go(func() {
				a := r.post("/ingest", trackerKey, jsonType, fmt.Sprintf(`{"message_id":"%d-%03d","anonymous_id":"u%d","event_type":"page"}`, u, i, u))
				if a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		wg.Wait() // each user waits for the answer before the next event
	}
	_, ids := r.atLeast(event.TopicEvents, users*each)
	next := map[string]int{}
	for _, id := range ids {
		user, n, _ := strings.Cut(id, "-")
		if want := fmt.Sprintf("%03d", next[user]); n != want {
			t.Fatalf("user %s: %s came when %s was due", user, n, want)
		}
		next[user]++
	}
	if r.metric("keystone_produce_spooled_records_total") == 0 {
		t.Error("the outage went unnoticed: the test shows nothing")
	}
	r.conserved()
}

func TestBatchInAnOutage(t *testing.T) {
	r := newRig(t, options{lane: impatient})
	r.post("/ingest/batch", integrationKey, jsonType, "["+ev("warm")+"]")
	end := r.outage()
	var items []string
	for i := range 2500 {
		items = append(items, fmt.Sprintf(`{"message_id":"m%04d","anonymous_id":"u","event_type":"page"}`, i))
	}
	a := r.post("/tenant/ingest/batch", integrationKey, "application/x-ndjson", strings.Join(items, "\n"))
	got := a.json(t)
	if a.status != 202 || got["accepted"] != 2500.0 {
		t.Fatalf("%d %.300s", a.status, a.body)
	}
	status := func() map[string]any {
		return r.do("GET", "/ingest/batch/"+got["job_id"].(string), nil, "X-API-Key", integrationKey).json(t)
	}
	if st := status(); st["processed"] != 0.0 {
		t.Errorf("while it is in the spool: %v", st)
	}
	end()
	until(t, "the job's offsets are known", func() bool { return status()["processed"] == 2500.0 })
	_, ids := r.atLeast(event.TopicBackfill, 2501)
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "warm" })
	for i, id := range ids {
		if id != fmt.Sprintf("m%04d", i) {
			t.Fatalf("%s came when m%04d was due", id, i)
		}
	}
}

// At the watermark the answer is 503, and what got it is not in the log.
func TestSpoolFull(t *testing.T) {
	r := newRig(t, options{lane: impatient, spool: func(c *spool.Config) { c.MaxBytes, c.HighPercent = 1<<20, 40 }})
	r.post("/ingest", trackerKey, jsonType, ev("warm"))
	end := r.outage()
	pad := strings.Repeat("x", 50<<10)
	taken := map[string]bool{"warm": true}
	refused := 0
	for i := 0; refused < 3 && i < 100; i++ {
		id := fmt.Sprint("m", i)
		a := r.post("/ingest", trackerKey, jsonType, `{"message_id":"`+id+`","anonymous_id":"a","event_type":"page","payload":{"p":"`+pad+`"}}`)
		switch a.status {
		case 200:
			taken[id] = true
		case 503:
			refused++
			if code, _ := a.failure(t); code != "unavailable" || a.header.Get("Retry-After") != "5" {
				t.Errorf("%s, Retry-After %q", a.body, a.header.Get("Retry-After"))
			}
		default:
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if refused != 3 || len(taken) < 5 {
		t.Fatalf("%d refused, %d taken", refused, len(taken))
	}
	if err := r.s.Ready(); err == nil {
		t.Error("an edge that can take nothing says it is ready")
	}
	end()
	until(t, "it is ready again", func() bool { return r.s.Ready() == nil })
	until(t, "events are taken again", func() bool { return r.post("/ingest", trackerKey, jsonType, ev("after")).status == 200 })
	taken["after"] = true
	_, ids := r.atLeast(event.TopicEvents, len(taken))
	for _, id := range ids {
		if !taken[id] {
			t.Errorf("%s is in the log, and the client was told otherwise", id)
		}
	}
	r.conserved()
}

// The log does not answer and the disk fails: 503. The event arrives all the same. When the client
// sends it again it has the same id, although it never had one of its own.
func TestDoubtfulEventCountsOnce(t *testing.T) {
	r := newRig(t, options{lane: impatient})
	end := r.outage()
	r.liveDisk.set(syscall.ENOSPC)
	const text = `{"anonymous_id":"a","event_type":"page","payload":{"n":1}}`
	if a := r.post("/ingest", trackerKey, jsonType, text); a.status != 503 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if n := r.metric("keystone_edge_doubtful_events_total"); n != 1 {
		t.Errorf("%v are counted as doubtful", n)
	}
	if a := r.post("/ingest", trackerKey, jsonType, strings.Replace(text, "1", "2", 1)); a.status != 503 {
		t.Fatalf("the next: %d", a.status)
	}
	if n := r.metric("keystone_edge_doubtful_events_total"); n != 1 {
		t.Errorf("the second was never sent, so there is no doubt: %v", n)
	}
	end()
	var a *answer
	until(t, "the client's repetition is taken", func() bool {
		a = r.post("/ingest", trackerKey, jsonType, text)
		return a.status == 200
	})
	// Those that were in doubt: the first, and repetitions that the log was slow to take; and the one it took.
	n := int(r.metric("keystone_edge_doubtful_events_total")) + 1
	for _, rec := range r.records(event.TopicEvents, n) {
		if id := rec.messageID(); id != a.json(t)["message_id"] {
			t.Errorf("%s is in the log as %q, answered %s", rec.Value, id, a.body)
		}
	}
	// Another tenant's same event is another event.
	if b := r.post("/ingest", otherKey, jsonType, text); b.json(t)["message_id"] == a.json(t)["message_id"] {
		t.Error("an id crossed tenants")
	}
	r.conserved()
}

// scripted is a lane whose outcomes a test decides, chunk by chunk.
type scripted struct {
	mu        sync.Mutex
	submitted [][]*kgo.Record
	outcome   func(n int, records []*kgo.Record) produce.Outcome
	n         int
}

func (s *scripted) Submit(records []*kgo.Record) produce.Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.submitted = append(s.submitted, records)
	return produce.Ticket{}
}

func (s *scripted) Wait(produce.Ticket) produce.Outcome {
	s.mu.Lock()
	records := s.submitted[0]
	s.submitted = s.submitted[1:]
	s.n++
	n := s.n
	s.mu.Unlock()
	return s.outcome(n, records)
}

func (*scripted) Ready() error { return nil }

// A batch of which a part could not be made durable says which part.
func TestBatchPartlyLost(t *testing.T) {
	r := newRig(t, options{})
	lane := &scripted{outcome: func(n int, records []*kgo.Record) produce.Outcome {
		switch n {
		case 2:
			return produce.Outcome{Failed: records[:2], Logged: records[2:], Err: produce.ErrUnavailable, Retained: true, Doubtful: true}
		case 3:
			return produce.Outcome{Refused: records[:1], Logged: records[1:]}
		}
		return produce.Outcome{Logged: records}
	}}
	r.s.deps.Backfill = lane
	items := []string{`{"bad":1}`}
	for i := range 2999 {
		items = append(items, fmt.Sprintf(`{"anonymous_id":"u%d","event_type":"page"}`, i))
	}
	a := r.post("/ingest/batch", integrationKey, "application/x-ndjson", strings.Join(items, "\n"))
	got := a.json(t)
	var verdicts []string
	for _, x := range got["rejected"].([]any) {
		x := x.(map[string]any)
		verdicts = append(verdicts, fmt.Sprint(x["index"], " ", x["code"]))
	}
	if a.status != 202 || got["accepted"] != 2996.0 || strings.Join(verdicts, ", ") != "0 invalid_event, 1001 unavailable, 1002 unavailable, 2001 too_large" {
		t.Errorf("%d accepted %v rejected %v", a.status, got["accepted"], verdicts)
	}
	if !r.s.doubt.some.Load() {
		t.Error("the doubtful ones are forgotten")
	}
	r.conserved()
}

func TestBatchWhollyLost(t *testing.T) {
	r := newRig(t, options{})
	r.s.deps.Backfill = &scripted{outcome: func(_ int, records []*kgo.Record) produce.Outcome {
		return produce.Outcome{Failed: records, Err: produce.ErrUnavailable}
	}}
	a := r.post("/ingest/batch", integrationKey, jsonType, `[{"bad":1},`+ev("m")+`]`)
	if code, _ := a.failure(t); a.status != 503 || code != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.conserved()
}

func TestBatchThatTakesTooLong(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.BulkWithin = 50 * time.Millisecond }})
	r.s.deps.Backfill = &scripted{outcome: func(_ int, records []*kgo.Record) produce.Outcome {
		time.Sleep(60 * time.Millisecond) // a slow log
		return produce.Outcome{Logged: records}
	}}
	a := r.post("/ingest/batch", integrationKey, "application/x-ndjson", strings.Repeat(page+"\n", 10_000))
	got := a.json(t)
	lost := len(got["rejected"].([]any))
	if a.status != 202 || lost == 0 || got["accepted"].(float64)+float64(lost) != 10_000 {
		t.Errorf("%d %v accepted, %d lost", a.status, got["accepted"], lost)
	}
	r.conserved()
}

// An SDK sends all of a partly lost batch again: what was taken keeps the id that was minted for it.
func TestDialectBatchPartlyLost(t *testing.T) {
	r := newRig(t, options{})
	var minted []string
	fail := true
	r.s.deps.Live = &scripted{outcome: func(_ int, records []*kgo.Record) produce.Outcome {
		for _, rec := range records {
			m, _ := event.ReadMeta(rec.Headers)
			minted = append(minted, m.MessageID)
		}
		if fail {
			return produce.Outcome{Logged: records[:1], Failed: records[1:], Err: errors.Join(produce.ErrUnavailable)}
		}
		return produce.Outcome{Logged: records}
	}}
	body := []byte(`{"batch":[{"type":"page","userId":"a"},{"type":"page","userId":"b"}]}`)
	if a := r.do("POST", "/v1/batch", body, "X-Write-Key", trackerKey); a.status != 503 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	fail = false
	if a := r.do("POST", "/v1/batch", body, "X-Write-Key", trackerKey); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if len(minted) != 4 || minted[0] != minted[2] || minted[1] != minted[3] || minted[0] == minted[1] {
		t.Errorf("%q", minted)
	}
	r.conserved()
}

func TestCase_63_larger_than_the_log_takes(t *testing.T) {
	r := newRig(t, options{})
	r.s.deps.Live = &scripted{outcome: func(_ int, records []*kgo.Record) produce.Outcome { return produce.Outcome{Refused: records} }}
	if a := r.post("/ingest", trackerKey, jsonType, page); a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.conserved()
}

func TestDoubtIsBoundedAndForgets(t *testing.T) {
	var d doubt
	now := time.Now()
	rec := func(i int) *kgo.Record {
		return &kgo.Record{Value: fmt.Append(nil, i), Headers: []kgo.RecordHeader{{Key: event.HeaderMessageID, Value: fmt.Append(nil, "id", i)}}}
	}
	for i := range maxDoubts + 10 {
		d.remember(tenant, []*kgo.Record{rec(i)}, now)
	}
	if len(d.ids) != maxDoubts || d.recall(tenant, []byte("7"), now) != "id7" || d.recall(other, []byte("7"), now) != "" {
		t.Errorf("%d are remembered", len(d.ids))
	}
	if d.recall(tenant, []byte("7"), now.Add(doubtFor+time.Second)) != "" || d.some.Load() {
		t.Error("remembered for ever")
	}
}
