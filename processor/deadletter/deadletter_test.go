package deadletter

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/store"
)

func TestID(t *testing.T) {
	id, err := ParseID("keystone.events/3/1042")
	if err != nil || id != (ID{"keystone.events", 3, 1042}) || id.String() != "keystone.events/3/1042" {
		t.Error(id, err)
	}
	for _, bad := range []string{"", "a", "a/1", "/1/2", "a/-1/2", "a/1/-2", "a/1/2/3", "a/x/2", "a/1/x", "a/2147483648/1", "a/1/9223372036854775808"} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("%q is %v", bad, id)
		}
	}
}

// What the state store refused is replayed once the cause is gone: it counts exactly once, for its
// failure left no trace of its message id. A second replay has to be meant.
func TestReplay(t *testing.T) {
	r := newRig(t)
	r.refused.refuse("poison")
	r.send(r.record(r.tenant, page("before")), r.record(r.tenant, page("poison")), r.record(r.tenant, page("after")))
	l := r.at(1)
	if r.counted(r.tenant) != 2 || r.failed() != 1 || l.Reason != consume.ReasonNotApplied || l.State != store.DeadLetterOpen || l.Attempts != 1 {
		t.Fatalf("%d counted, %d of the job failed, %+v", r.counted(r.tenant), r.failed(), l)
	}
	if all, err := r.replay(r.queue, ReplayOptions{DryRun: true}, l); err != nil || len(all) != 1 || all[0].Err != nil || r.at(1).State != store.DeadLetterOpen {
		t.Errorf("the dry run: %+v, %v", all, err)
	}
	r.refused.refuse("")
	r.replayed(ReplayOptions{}, l)
	if r.counted(r.tenant) != 3 || r.failed() != 0 || len(r.letters(store.DeadLetterOpen)) != 0 {
		t.Errorf("%d counted, %d of the job failed", r.counted(r.tenant), r.failed())
	}
	l = r.at(1)
	as, ok := ReplayOf(l)
	if l.State != store.DeadLetterReplayed || !ok || as.Offset != 3 || l.ChangedBy != "a test" || l.ChangedAt == nil {
		t.Errorf("%+v", l)
	}
	if outcome, err := r.queue.Outcome(t.Context(), l); err != nil || outcome != Processed {
		t.Error(outcome, err)
	}

	all, err := r.replay(r.queue, ReplayOptions{}, l)
	if err != nil || len(all) != 1 || !errors.Is(all[0].Err, ErrSettled) {
		t.Fatalf("a second replay: %+v, %v", all, err)
	}
	mustContain(t, all[0].Err.Error(), "replayed as keystone.events/0/3", "by a test")
	r.replayed(ReplayOptions{Again: true}, l)
	if n := r.counted(r.tenant); n != 3 {
		t.Errorf("replayed twice, it counts %d times", n-2)
	}
}

// The record in the log is what it was, byte for byte, with its attempts; one without a message id
// gets one that its replays share.
func TestReplayIsTheRecord(t *testing.T) {
	r := newRig(t)
	stranger := uuid.New()
	sent := r.record(stranger, `{"anonymous_id":"device","event_type":"page"}`)
	r.send(sent)
	l := r.at(0)
	if l.Reason != consume.ReasonUnknownTenant || l.TenantID != stranger {
		t.Fatalf("%+v", l)
	}
	r.createTenant(stranger)
	r.replayed(ReplayOptions{}, l)
	r.replayed(ReplayOptions{Again: true}, r.at(0))
	if n := r.counted(stranger); n != 1 {
		t.Errorf("it counts %d times", n)
	}
	got, err := r.queue.original(t.Context(), &store.DeadLetterRow{Topic: event.TopicEvents, Offset: 2, TenantID: stranger})
	check(t, err)
	if string(got.Key) != string(sent.Key) || string(got.Value) != string(sent.Value) || len(got.Headers) != len(sent.Headers)+2 {
		t.Errorf("%+v", got)
	}
	for i, h := range sent.Headers {
		if got.Headers[i].Key != h.Key || string(got.Headers[i].Value) != string(h.Value) {
			t.Errorf("header %d: %+v", i, got.Headers[i])
		}
	}
	last := got.Headers[len(got.Headers)-2:]
	if last[0].Key != event.HeaderMessageID || string(last[0].Value) != "log:keystone.events/0/0" || last[1].Key != consume.HeaderAttempts {
		t.Errorf("%+v", last)
	}
	mustContain(t, string(last[1].Value), "unknown_tenant: ")
}

// createTenant makes a tenant of that id, as a restored backup would.
func (r *rig) createTenant(id uuid.UUID) {
	r.Helper()
	_, err := r.pool.Exec(r.Context(), `INSERT INTO tenants (tenant_id, slug, name, settings, created_at) VALUES ($1, 'late', '', '', now())`, id)
	check(r.T, err)
}

// What fails again is a letter of its own, with all it went through, and counts as one failure.
func TestFailsAgain(t *testing.T) {
	r := newRig(t)
	r.send(r.record(r.tenant, `{"secret`))
	r.replayed(ReplayOptions{}, r.at(0))
	open := r.letters(store.DeadLetterOpen)
	if len(open) != 1 || open[0].Offset != 1 || open[0].Attempts != 2 || r.failed() != 1 {
		t.Fatalf("%+v, %d of the job failed", open, r.failed())
	}
	if outcome, err := r.queue.Outcome(t.Context(), r.at(0)); err != nil || outcome != FailedAgain {
		t.Error(outcome, err)
	}
	record, err := r.queue.Record(t.Context(), &open[0])
	check(t, err)
	history := record.History()
	if len(history) != 2 || string(record.Value) != `{"secret` || len(record.Headers) != len(r.record(r.tenant, "").Headers)+1 {
		t.Errorf("%q, %q, %+v", history, record.Value, record.Headers)
	}
	for _, line := range history {
		mustContain(t, line, "invalid_event: ")
	}
	r.replayed(ReplayOptions{}, &open[0])
	if l := r.at(2); l.Attempts != 3 || len(r.letters("")) != 3 {
		t.Errorf("%+v", l)
	}
}

// More than a page of letters that all fail again are replayed once each, and the command ends.
func TestReplayAllEnds(t *testing.T) {
	r := newRig(t)
	const n = 2*pageSize + 5
	r.send(r.broken(n)...)
	seen := 0
	err := r.queue.Replay(t.Context(), r.queue.Open(t.Context(), nil, ""), ReplayOptions{}, func(x Result) {
		if seen++; x.Err != nil {
			t.Error(x.Err)
		}
		if seen%pageSize == 0 {
			r.processed(pageSize) // so that the listing meets what failed again
		}
	})
	check(t, err)
	r.processed(n % pageSize)
	if seen != n || len(r.letters(store.DeadLetterOpen)) != n || len(r.letters(store.DeadLetterReplayed)) != n {
		t.Errorf("%d of %d were replayed, %d are open", seen, n, len(r.letters(store.DeadLetterOpen)))
	}
}

// The queue has no room for a large value: it comes from the log, until retention takes it from there.
func TestOmittedValue(t *testing.T) {
	r := newRig(t)
	large := `{"` + strings.Repeat("x", 985_000)
	r.send(r.record(r.tenant, large))
	record, err := r.queue.Record(t.Context(), r.at(0))
	if err != nil || string(record.Value) != large || len(record.Sources) != 2 {
		t.Fatalf("%+v, %v", record, err)
	}
	r.replayed(ReplayOptions{}, r.at(0))
	if l := r.at(1); l.Attempts != 2 {
		t.Errorf("%+v", l)
	}
	r.retention(event.TopicEvents, 2)
	all, err := r.replay(r.queue, ReplayOptions{}, r.at(1))
	if err != nil || len(all) != 1 || !errors.Is(all[0].Err, ErrGone) || r.at(1).State != store.DeadLetterOpen {
		t.Fatalf("%+v, %v", all, err)
	}
	mustContain(t, all[0].Err.Error(), "too large for keystone.dlq", "retention has taken it", "begins at offset 2")
}

// Where retention has emptied the queue, the log still has the record, and the row the last attempt.
func TestQueueIsEmptied(t *testing.T) {
	r := newRig(t)
	r.send(r.record(r.tenant, `{"1`), r.record(r.tenant, `{"2`))
	r.replayed(ReplayOptions{}, r.at(0))
	whole, err := r.queue.Record(t.Context(), r.at(2))
	check(t, err)
	r.retention(event.TopicDLQ, 3)
	record, err := r.queue.Record(t.Context(), r.at(2))
	check(t, err)
	if string(record.Value) != `{"1` || len(record.History()) != 2 || len(record.Headers) != len(whole.Headers) {
		t.Errorf("%q, %q, %+v", record.Value, record.Attempts, record.Headers)
	}
	r.replayed(ReplayOptions{}, r.at(1))
	r.retention(event.TopicEvents, 4)
	if _, err := r.queue.Record(t.Context(), r.at(2)); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// Of two that replay the same letters, each letter is replayed by one.
func TestReplayAtOnce(t *testing.T) {
	r := newRig(t)
	const n = 20
	r.send(r.broken(n)...)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := map[ID]int{}
	for range 3 {
		q := r.open(r.states)
		wg.Go(func() {
			err := q.Replay(t.Context(), q.Open(t.Context(), nil, ""), ReplayOptions{}, func(x Result) {
				mu.Lock()
				defer mu.Unlock()
				if x.Err == nil && x.Letter.Offset < n {
					done[IDOf(x.Letter)]++
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for id, times := range done {
		if times != 1 {
			t.Errorf("%s was replayed %d times", id, times)
		}
	}
	if len(done) != n {
		t.Errorf("%d of %d were replayed", len(done), n)
	}
}

// dying is a store that is gone at the n-th change.
type dying struct {
	*store.Store
	changes int
}

var errDown = errors.New("down")

func (d *dying) ChangeDeadLetters(ctx context.Context, c []store.DeadLetterChange) (map[store.DeadLetterKey]struct{}, error) {
	if d.changes--; d.changes < 0 {
		return nil, errDown
	}
	return d.Store.ChangeDeadLetters(ctx, c)
}

// A command that dies before the log has the record leaves the letter open; one that dies after leaves
// it replaying, which has to be meant to be replayed, and counts once all the same.
func TestCommandDies(t *testing.T) {
	r := newRig(t)
	stranger := uuid.New()
	r.send(r.record(stranger, page("m")))
	r.createTenant(stranger)
	if all, err := r.replay(r.open(&dying{r.states, 0}), ReplayOptions{}, r.at(0)); !errors.Is(err, errDown) || len(all) != 0 || r.at(0).State != store.DeadLetterOpen {
		t.Errorf("before: %+v, %v, %s", all, err, r.at(0).State)
	}
	all, err := r.replay(r.open(&dying{r.states, 1}), ReplayOptions{}, r.at(0))
	if !errors.Is(err, errDown) || len(all) != 1 || all[0].As.Offset != 1 || r.at(0).State != store.DeadLetterReplaying {
		t.Fatalf("after: %+v, %v, %s", all, err, r.at(0).State)
	}
	r.processed(1)
	if all, err := r.replay(r.queue, ReplayOptions{}, r.at(0)); err != nil || !errors.Is(all[0].Err, ErrSettled) {
		t.Errorf("%+v, %v", all, err)
	}
	r.replayed(ReplayOptions{Again: true}, r.at(0))
	if n := r.counted(stranger); n != 1 || r.at(0).State != store.DeadLetterReplayed {
		t.Errorf("it counts %d times and is %s", n, r.at(0).State)
	}
}

// What the log does not take is as it was before.
func TestLogRefuses(t *testing.T) {
	r := newRig(t)
	noise := make([]byte, 100_000) // what compression cannot make small
	_, _ = rand.Read(noise)        // never fails
	r.send(r.record(r.tenant, string(noise)))
	limit := "1000"
	_, err := r.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, event.TopicEvents)
	check(t, err)
	all, err := r.replay(r.queue, ReplayOptions{}, r.at(0))
	if err != nil || len(all) != 1 || all[0].Err == nil || errors.Is(all[0].Err, ErrSettled) {
		t.Fatalf("%+v, %v", all, err)
	}
	if l := r.at(0); l.State != store.DeadLetterOpen || l.ChangedAt != nil || l.ChangedBy != "" {
		t.Errorf("%+v", l)
	}
}

// What is dropped says so, with when, by whom and why; it is not replayed unless that is meant.
func TestDrop(t *testing.T) {
	r := newRig(t)
	bare := r.record(r.tenant, page("bare"))
	bare.Headers = nil // names no tenant
	r.send(r.record(r.tenant, `{`), bare)
	var all []Result
	report := func(x Result) { all = append(all, x) }
	if err := r.queue.Drop(t.Context(), these(r.at(0)), "", report); err == nil {
		t.Error("dropped without a why")
	}
	none := uuid.Nil
	check(t, r.queue.Drop(t.Context(), r.queue.Open(t.Context(), &none, consume.ReasonBadRecord), "a stranger's", report))
	if len(all) != 1 || all[0].Err != nil || all[0].Letter.Offset != 1 || r.at(0).State != store.DeadLetterOpen {
		t.Fatalf("%+v", all)
	}
	l := r.at(1)
	if l.State != store.DeadLetterDropped || l.Why != "a stranger's" || l.ChangedBy != "a test" || l.ChangedAt == nil || l.TenantID != uuid.Nil {
		t.Errorf("%+v", l)
	}
	all = nil
	check(t, r.queue.Drop(t.Context(), these(l), "again", report))
	if len(all) != 1 || !errors.Is(all[0].Err, ErrSettled) || r.at(1).Why != "a stranger's" {
		t.Errorf("%+v", all)
	}
	check(t, r.queue.Drop(t.Context(), these(r.at(0)), "broken", report))
	if r.failed() != 1 {
		t.Error("a job forgets what was dropped")
	}
	if all, err := r.replay(r.queue, ReplayOptions{}, l); err != nil || !errors.Is(all[0].Err, ErrSettled) {
		t.Errorf("%+v, %v", all, err)
	}
	r.replayed(ReplayOptions{Again: true}, l)
	if l := r.at(1); l.State != store.DeadLetterReplayed || l.Why != "" {
		t.Errorf("%+v", l)
	}
}

func TestFind(t *testing.T) {
	r := newRig(t)
	r.send(r.record(r.tenant, `{`))
	if _, err := r.queue.Find(t.Context(), ID{event.TopicEvents, 0, 7}, nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	other := uuid.New()
	_, err := r.pool.Exec(t.Context(), `INSERT INTO dead_letters (tenant_id, topic, part, source_offset, job_id, reason, detail, created_at)
		SELECT $1, topic, part, source_offset, '', reason, detail, created_at FROM dead_letters`, other)
	check(t, err)
	id := ID{event.TopicEvents, 0, 0}
	if _, err := r.queue.Find(t.Context(), id, nil); !errors.Is(err, ErrAmbiguous) {
		t.Error(err)
	}
	l, err := r.queue.Find(t.Context(), id, &other)
	if err != nil || l.TenantID != other {
		t.Fatal(l, err)
	}
	if _, err := r.queue.Record(t.Context(), l); !errors.Is(err, ErrGone) {
		t.Errorf("another tenant's record: %v", err)
	}
}
