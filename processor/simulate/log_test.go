package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// values are those of all records of the window, in the order in which they are given.
func (r *rig) values(from time.Time) (all []string, log *reader) {
	r.t.Helper()
	log, err := openLog(r.t.Context(), r.brokers, tenant, from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.close()
	for {
		x, err := log.next(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if x == nil {
			return all, log
		}
		all = append(all, string(x.Value))
	}
}

// A partition's records come in its order, even where a clock went back; partitions by received_at;
// a tie goes to the live lane. Other tenants' and unreadable ones are left out and counted.
func TestOrder(t *testing.T) {
	r := newRig(t, 2)
	r.send(
		at(1*time.Second, 0, "a1"), at(5*time.Second, 0, "a5"), at(4*time.Second, 0, "a4 late"), at(8*time.Second, 0, "a8"),
		at(2*time.Second, 1, "b2"), of(other, 3*time.Second, 1, "theirs"), at(6*time.Second, 1, "b6"),
		history(2*time.Second, "h2"), history(9*time.Second, "h9"),
		&kgo.Record{Topic: event.TopicEvents, Partition: 1, Value: []byte("no headers")})
	got, log := r.values(time.Time{})
	if want := []string{"a1", "b2", "h2", "a5", "a4 late", "b6", "a8", "h9"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if log.done != 10 || log.total != 10 || log.unreadable != 1 || log.shortened != 0 {
		t.Errorf("%d of %d, %d unreadable, %d shortened", log.done, log.total, log.unreadable, log.shortened)
	}
	if groups := r.groups(); len(groups) > 0 {
		t.Errorf("groups %q", groups)
	}
}

// The window begins with what was received then, whenever it got into the log; it ends where the log
// ended when it was opened.
func TestWindow(t *testing.T) {
	r := newRig(t, 2)
	spooled := at(-time.Minute, 0, "received before, written after")
	spooled.Timestamp = noon.Add(time.Minute)
	r.send(at(-time.Hour, 0, "before"), at(-time.Microsecond, 1, "just before"), at(0, 1, "just then"), spooled, at(time.Hour, 0, "after"))
	got, log := r.values(noon)
	if want := []string{"just then", "after"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if log.total != 4 {
		t.Errorf("%d records were read, of which the first is too old to be", log.total)
	}

	open, err := openLog(t.Context(), r.brokers, tenant, noon)
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	r.send(at(2*time.Hour, 0, "too late"))
	for n := 0; ; n++ {
		x, err := open.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if x == nil {
			if n != 2 {
				t.Errorf("%d records", n)
			}
			break
		}
	}
	if got, _ := r.values(noon.Add(3 * time.Hour)); len(got) != 0 {
		t.Errorf("an empty window holds %q", got)
	}
}

// One partition is hours ahead of the other: it has to wait, in bounded memory, and nothing is lost.
func TestUnevenPartitions(t *testing.T) {
	const most = 3*queueRecords + 7
	r := newRig(t, 2)
	var records []*kgo.Record
	for n := range most {
		records = append(records, at(time.Hour+time.Duration(n)*time.Millisecond, 0, fmt.Sprint("late ", n)),
			at(time.Duration(n)*time.Millisecond, 1, fmt.Sprint("early ", n)))
	}
	r.send(records...)
	log, err := openLog(t.Context(), r.brokers, tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	for n := range 2 * most {
		x, err := log.next(t.Context())
		if err != nil || x == nil {
			t.Fatalf("%d: %v %v", n, x, err)
		}
		want := fmt.Sprint("early ", n)
		if n >= most {
			want = fmt.Sprint("late ", n-most)
		}
		if string(x.Value) != want {
			t.Fatalf("%d: %q", n, x.Value)
		}
		for _, p := range log.parts {
			if len(p.queue) > queueRecords+pollRecords {
				t.Fatalf("a queue of %d records", len(p.queue))
			}
		}
	}
	if x, err := log.next(t.Context()); x != nil || err != nil {
		t.Errorf("after the end: %v %v", x, err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	r := newRig(t, 1)
	r.send(at(0, 0, "x"))
	log, err := openLog(t.Context(), r.brokers, tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := log.next(ctx); err == nil {
		t.Error("it goes on")
	}
}

func TestNoLog(t *testing.T) {
	r := &rig{t: t, brokers: enginetest.Broker(t)}
	if _, err := Run(t.Context(), r.config()); err == nil || !strings.Contains(err.Error(), "look for the window in the log") {
		t.Errorf("a log without topics: %v", err)
	}
}

// Retention may take what was to be read while it is read: the rest is read, and nobody waits.
func TestRetentionOvertakes(t *testing.T) {
	r := newRig(t, 2)
	r.send(at(1*time.Second, 0, "gone"), at(2*time.Second, 0, "gone too"), at(3*time.Second, 1, "gone as well"), at(4*time.Second, 1, "kept"))
	log, err := openLog(t.Context(), r.brokers, tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	cut := kadm.Offsets{}
	cut.AddOffset(event.TopicEvents, 0, 2, -1)
	cut.AddOffset(event.TopicEvents, 1, 1, -1)
	if _, err := kadm.NewClient(r.client).DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	// What the client had fetched before is still given.
	var got []string
	for {
		x, err := log.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if x == nil {
			break
		}
		got = append(got, string(x.Value))
	}
	if len(got) == 0 || got[len(got)-1] != "kept" || log.done != log.total {
		t.Errorf("%q, %d of %d", got, log.done, log.total)
	}
	if _, log := r.values(time.Time{}); log.shortened != 2 || log.total != 1 {
		t.Errorf("opened again: %d partitions shortened, %d records", log.shortened, log.total)
	}
}
