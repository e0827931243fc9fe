package apply_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/model"
)

const logLength = 60

func play(t rapid.TB, log []applytest.Entry, cut func(int) bool) *applytest.Store {
	t.Helper()
	s, err := applytest.Play(applytest.Settings(), log, cut)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Replaying any prefix of the log again changes nothing.
func TestLaw_1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		prefix := log[:rapid.IntRange(0, len(log)).Draw(t, "prefix")]
		once := play(t, log, cuts(t, len(log)))
		twice := play(t, slices.Concat(log, prefix), cuts(t, len(log)+len(prefix)))
		if diff := once.Diff(twice); diff != "" {
			t.Fatalf("once (-) and with a prefix again (+) differ:\n%s", diff)
		}
	})
}

func cuts(t *rapid.T, n int) func(int) bool {
	cuts := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "cuts")
	return func(n int) bool { return cuts[n] }
}

// The state after any log keeps laws 2, 3 and 4, the limits and its own bookkeeping.
func TestLaws_2_3_4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		if err := play(t, log, cuts(t, len(log))).Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// Batched processing gives exactly what one-event-at-a-time processing gives, and what the model gives.
func TestLaw_6(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		single := play(t, log, applytest.Singly)
		if diff := model.Diff(applytest.PlayModel(applytest.Settings(), log), single.Model()); diff != "" {
			t.Fatalf("the model (-) and single events (+) differ:\n%s", diff)
		}
		if diff := single.Diff(play(t, log, cuts(t, len(log)))); diff != "" {
			t.Fatalf("single events (-) and random batches (+) differ:\n%s", diff)
		}
		if diff := single.Diff(play(t, log, applytest.Whole)); diff != "" {
			t.Fatalf("single events (-) and whole lanes (+) differ:\n%s", diff)
		}
	})
}

// An event counts for the profile that owns the first verified identifier it names, else the device
// that sent it: so ClickHouse can tell whose it is by that one's node.
func TestAttribution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		s := applytest.NewStore(applytest.Settings())
		for _, x := range log {
			before := map[uuid.UUID]int64{}
			for id, p := range s.Profiles {
				before[id] = p.EventCount
			}
			r, err := s.Apply(x.Lane, []apply.Event{x.Event}, applytest.ProcessedAt)
			if err != nil {
				t.Fatal(err)
			}
			if r == nil {
				continue // came again
			}
			head := x.Event.IDs.Routing()
			if len(x.Event.IDs.Verified) > 0 {
				head = x.Event.IDs.Verified[0]
			}
			owner, ok := s.Owner(head.Node)
			if !ok {
				t.Fatalf("%s: %s %s has no owner", x.Event.MessageID, head.Kind, head.Value)
			}
			for _, p := range s.Live() {
				if p.ID != owner.ID && p.EventCount != before[p.ID] {
					t.Fatalf("%s counts for somebody else", x.Event.MessageID)
				}
			}
			for _, c := range r.Conflicts {
				if c.ProfileID != owner.ID {
					t.Fatalf("%s: a conflict names somebody else", x.Event.MessageID)
				}
			}
		}
	})
}

// Without relinks, conflicts and late events, whose an identifier is does not depend on how the log
// was cut into partitions, nor on which ran first: those of an event are one person's, directly or
// over others.
func TestLaw_5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := make([][]applytest.Entry, 3)
		want := components{}
		for n := range rapid.IntRange(1, logLength).Draw(t, "events") {
			e := peaceful(t, n)
			lane := int(e.IDs.Routing().Node[0]) % len(lanes)
			lanes[lane] = append(lanes[lane], applytest.Entry{Lane: strconv.Itoa(lane), Event: e})
			want.join(e.IDs)
		}
		for range 2 {
			log := interleave(t, lanes)
			s := play(t, log, cuts(t, len(log)))
			if len(s.Spans)+len(s.Conflicts) > 0 {
				t.Fatalf("the log is not peaceful: %d relinks, %d conflicts", len(s.Spans), len(s.Conflicts))
			}
			for a, x := range s.Identifiers {
				for b, y := range s.Identifiers {
					if together := x.ProfileID == y.ProfileID; together != (want.of(a) == want.of(b)) {
						t.Fatalf("%s %s and %s %s: together %t", x.Kind, x.Value, y.Kind, y.Value, together)
					}
				}
			}
		}
	})
}

// peaceful is an event of one of three people. Where it names a person beside a device it names the
// crm_id, so that no device has two anchors.
func peaceful(t *rapid.T, n int) apply.Event {
	at := time.Date(2026, 11, 23, 10, 0, n, 0, time.UTC)
	e := apply.Event{Tenant: applytest.Lenient, MessageID: "m" + strconv.Itoa(n), Type: event.Page, At: at, ReceivedAt: at}
	person := rapid.SampledFrom([]string{"ann", "bob", "cy"}).Draw(t, "person")
	some := func(kind string, most int) (ids []event.Identifier) {
		for n := range most {
			if rapid.Bool().Draw(t, kind) {
				ids = append(ids, applytest.ID(e.Tenant, kind, person+strconv.Itoa(n)))
			}
		}
		return ids
	}
	e.IDs.Anonymous = some(event.KindAnonymous, 2)
	if rapid.Bool().Draw(t, "only devices") && len(e.IDs.Anonymous) > 0 {
		return e
	}
	if crm := some(event.KindCRM, 1); len(e.IDs.Anonymous) == 0 || len(crm) > 0 {
		e.IDs.Verified = slices.Concat(crm, some(event.KindEmail, 3), some(event.KindPhone, 2))
	}
	if e.IDs.Empty() {
		e.IDs.Verified = []event.Identifier{applytest.ID(e.Tenant, event.KindCRM, person+"0")}
	}
	return e
}

// interleave is some order in which partitions may run.
func interleave(t *rapid.T, lanes [][]applytest.Entry) (log []applytest.Entry) {
	rest := slices.Clone(lanes)
	for {
		rest = slices.DeleteFunc(rest, func(lane []applytest.Entry) bool { return len(lane) == 0 })
		if len(rest) == 0 {
			return log
		}
		n := rapid.IntRange(0, len(rest)-1).Draw(t, "next lane")
		log = append(log, rest[n][0])
		rest[n] = rest[n][1:]
	}
}

// components is which identifiers hang together; each is kept with another of its group.
type components map[uuid.UUID]uuid.UUID

func (c components) of(node uuid.UUID) uuid.UUID {
	for c[node] != node {
		node = c[node]
	}
	return node
}

func (c components) join(ids event.Identifiers) {
	all := slices.Concat(ids.Anonymous, ids.Verified)
	for _, id := range all {
		if _, ok := c[id.Node]; !ok {
			c[id.Node] = id.Node
		}
		c[c.of(id.Node)] = c.of(all[0].Node)
	}
}
