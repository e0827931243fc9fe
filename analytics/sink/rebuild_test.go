package sink

import (
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// snapshotOf is a state store that has profile 1, and nothing of what the tables have of others.
func snapshotOf(t *testing.T, profiles ...int) iter.Seq2[event.Change, error] {
	t.Helper()
	return func(yield func(event.Change, error) bool) {
		for _, n := range profiles {
			var c event.Change
			if err := json.Unmarshal([]byte(changeOf(n)), &c); err != nil {
				t.Fatal(err)
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// After a rebuild the tables are the snapshot's, each row once; what the snapshot has is not taken again
// when it comes, and what it has not is.
func TestRebuild(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(change(changeOf(1), "0", 10, 0), change(changeOf(2), "0", 20, 0))
	r.reach(event.TopicChanges, 0, 2)
	r.stop(s)

	rebuilder := NewRebuilder(r.servers(r.dsn), slog.New(slog.DiscardHandler))
	if err := rebuilder.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Sources(t.Context(), r.conn); !errors.Is(err, ErrRebuilding) {
		t.Errorf("half of a rebuild is taken for a whole one: %v", err)
	}
	broken := errors.New("the state store is away")
	if _, err := rebuilder.Rebuild(t.Context(), Standing{Ends: map[int32]int64{0: 2}}, func(yield func(event.Change, error) bool) {
		for c, err := range snapshotOf(t, 3) {
			_ = yield(c, err) && yield(event.Change{}, broken)
		}
	}); !errors.Is(err, broken) {
		t.Errorf("the snapshot's error is not told: %v", err)
	}
	// A sink that is started now waits, rather than go on in the middle.
	waiting := r.start()
	r.eventually("the sink says why it waits", func() bool {
		err := waiting.insert.failure()
		return errors.Is(err, ErrRebuilding)
	})
	r.stop(waiting)

	if err := rebuilder.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := rebuilder.Rebuild(t.Context(), Standing{Ends: map[int32]int64{0: 2}, Sources: map[string]int64{"keystone.events/0": 15}}, snapshotOf(t, 1))
	if err != nil || rows == 0 {
		t.Fatal(rows, err)
	}
	if sources, err := Sources(t.Context(), r.conn); err != nil || sources["keystone.events/0"] != 15 {
		t.Errorf("sources %v, %v", sources, err)
	}
	counts := func(n string) {
		t.Helper()
		for table, times := range map[string]string{"profile_merges": n, "attribute_changes": n + " * 2", "profiles FINAL": n, "identity_map FINAL": n + " * 2", "orders FINAL": n + " * 2"} {
			r.want("1", "SELECT count() = "+times+" FROM "+table)
		}
	}
	counts("1")
	again := r.start()
	// The outbox of the state store had this one still, and the next is made after the restore.
	r.produce(change(changeOf(1), "0", 15, 0), change(changeOf(2), "0", 16, 0))
	r.reach(event.TopicChanges, 0, 4)
	counts("2")
	if n := testutil.ToFloat64(again.metrics.repeated); n != 1 {
		t.Errorf("%v records were known, want 1", n)
	}
}

// The log of a partition is another one; the rows of the old one are no reason to skip what the new one has
// at their places.
func TestRebuildAfterAnotherLog(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(record(event.TopicEvents, 0, page("m1", "a")), record(event.TopicEvents, 0, page("m2", "a")))
	r.reach(event.TopicEvents, 0, 2)
	r.stop(s)
	r.newLog()
	r.produce(record(event.TopicEvents, 0, page("m2", "a")), record(event.TopicEvents, 0, page("m3", "a")), record(event.TopicEvents, 0, page("m4", "a")))
	rebuilder := NewRebuilder(r.servers(r.dsn), slog.New(slog.DiscardHandler))
	if err := rebuilder.Begin(t.Context(), Place{Topic: event.TopicEvents}); err != nil {
		t.Fatal(err)
	}
	if _, err := rebuilder.Rebuild(t.Context(), Standing{}, snapshotOf(t)); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.reach(event.TopicEvents, 0, 3)
	r.want("4|4", "SELECT count(), uniqExact(message_id) FROM events")
}

// Records that retention took before they were in the tables are missed loudly.
func TestHoleInTheLog(t *testing.T) {
	r := newRig(t)
	s := r.start()
	r.produce(record(event.TopicEvents, 0, page("m1", "a")))
	r.reach(event.TopicEvents, 0, 1)
	r.stop(s)
	r.produce(record(event.TopicEvents, 0, page("m2", "a")), record(event.TopicEvents, 0, page("m3", "a")), record(event.TopicEvents, 0, page("m4", "a")))
	if _, err := kadm.NewClient(r.producer).DeleteRecords(t.Context(), kadm.OffsetsFromRecords(kgo.Record{Topic: event.TopicEvents, Offset: 2})); err != nil {
		t.Fatal(err)
	}
	s = r.start()
	r.reach(event.TopicEvents, 0, 4)
	r.want("m1\nm4", "SELECT message_id FROM events ORDER BY message_id")
	if n := testutil.ToFloat64(s.metrics.missing.WithLabelValues(event.TopicEvents)); n != 2 {
		t.Errorf("%v records are missed, want 2", n)
	}
}
