package apply_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Merge, then unmerge, with nothing in between, is the identity: what is left is what the same event
// would have done had it named the winner alone. Versions and lineage grow.
func TestUnmergeIsTheIdentity(t *testing.T) {
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		undone := play(t, log, applytest.Singly)
		both, one := undone.Live(), []event.Identifier{}
		if len(both) < 2 {
			t.Skip("one profile")
		}
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(both)-1), 2, 2, rapid.ID).Draw(t, "profiles") {
			one = append(one, verifiedFirst(undone, both[n].ID))
		}
		last := log[len(log)-1].Event
		e := apply.Event{Tenant: tenantOf(undone, one[0]), MessageID: "meeting", Type: event.Page, ReceivedAt: last.ReceivedAt.Add(time.Second),
			At: last.At.Add(time.Duration(rapid.IntRange(-3, 1).Draw(t, "hours")) * time.Hour)}
		if tenantOf(undone, one[1]) != e.Tenant {
			t.Skip("two tenants")
		}
		r := applyOne(t, undone, e, one...)
		if len(r.Merges) == 0 {
			t.Skip("refused")
		}
		m := r.Merges[0]
		kinds[m.Kind]++
		winners := one[:1]
		if slices.ContainsFunc(m.MovedIdentifiers, func(i event.IdentifierState) bool { return i.Node == one[0].Node }) {
			winners = one[1:]
		}
		never := play(t, log, applytest.Singly)
		applyOne(t, never, e, winners...)

		report, err := undone.Unmerge(m.MergeID, applytest.ProcessedAt)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range report.Report.Kept {
			if k.What != "identifier" || !strings.Contains(k.Reason, "relinked") { // before the merge, here
				t.Fatalf("kept %v", k)
			}
		}
		if len(report.Report.Learned) > 0 {
			t.Fatalf("learned %v", report.Report.Learned)
		}
		if err := undone.Check(); err != nil {
			t.Fatal(err)
		}
		unversioned(undone)
		unversioned(never)
		if diff := never.Diff(undone); diff != "" {
			t.Fatalf("never merged (-) and unmerged (+) differ:\n%s", diff)
		}
	})
	if kinds[identity.Collapsed] == 0 || kinds[identity.Merged] == 0 {
		t.Errorf("the property tested %v only", kinds)
	}
}

func verifiedFirst(s *applytest.Store, profile uuid.UUID) (found event.Identifier) {
	for _, i := range s.Identifiers {
		id := event.Identifier{Kind: i.Kind, Value: i.Value, Node: i.Node}
		if i.ProfileID != profile {
			continue
		}
		verified, has := i.Kind != event.KindAnonymous, found.Kind != "" && found.Kind != event.KindAnonymous
		if found.Kind == "" || verified && !has || verified == has && identity.CompareIDs(id.Node, found.Node) < 0 {
			found = id
		}
	}
	return found
}

func tenantOf(s *applytest.Store, id event.Identifier) uuid.UUID {
	return s.Identifiers[id.Node].Tenant
}

func applyOne(t rapid.TB, s *applytest.Store, e apply.Event, ids ...event.Identifier) *apply.Result {
	t.Helper()
	for _, i := range ids {
		if i.Kind == event.KindAnonymous {
			e.IDs.Anonymous = append(e.IDs.Anonymous, i)
		} else {
			e.IDs.Verified = append(e.IDs.Verified, i)
		}
	}
	r, err := s.Apply("0", []apply.Event{e}, applytest.ProcessedAt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// unversioned takes away what a merge and its reverse leave behind: versions and history.
func unversioned(s *applytest.Store) {
	for id, p := range s.Profiles {
		p.Version = 0
		s.Profiles[id] = p
	}
	for id, i := range s.Identifiers {
		i.Version = 0
		s.Identifiers[id] = i
	}
	for key, x := range s.Spans {
		x.Version = 0
		s.Spans[key] = x
	}
	for key, o := range s.Orders {
		o.Version = 0
		s.Orders[key] = o
	}
	s.Merges, s.Lineage = nil, nil
}

// The state keeps laws 2, 3 and 4 and its own bookkeeping after any log with any unmerges in between:
// of merges whose winner lives, and of those whose winner went on.
func TestLaws_2_3_4_WithUnmerges(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		s := applytest.NewStore(applytest.Settings())
		for n, x := range log {
			if _, err := s.Apply(x.Lane, []apply.Event{x.Event}, applytest.ProcessedAt); err != nil {
				t.Fatal(err)
			}
			last := n == len(log)-1
			for rapid.IntRange(0, 9).Draw(t, "unmerge") == 0 || last {
				if !unmergeAny(t, s, reached) {
					break
				}
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	})
	for _, what := range []string{"direct", "onwards", "followers", "relinked", "changed", "attributes", "orders", "spans", "learned"} {
		if reached[what] == 0 {
			t.Errorf("%s: not reached", what)
		}
	}
	t.Log(reached)
}

// unmergeAny takes back one of the merges in force, if one of them can be.
func unmergeAny(t *rapid.T, s *applytest.Store, reached map[string]int) bool {
	merges := s.InForce()
	for len(merges) > 0 {
		n := rapid.IntRange(0, len(merges)-1).Draw(t, "which")
		m := merges[n]
		r, err := s.Unmerge(m.MergeID, applytest.ProcessedAt)
		if errors.Is(err, apply.ErrNothingReturns) || errors.Is(err, apply.ErrNothingStays) {
			reached["refused"]++
			merges = slices.Delete(merges, n, n+1)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Later) == 0 {
			reached["direct"]++
		} else {
			reached["onwards"]++
		}
		reached["followers"] += len(r.Followers)
		reached["attributes"] += len(r.Report.Attributes)
		reached["orders"] += len(r.Report.Orders)
		reached["spans"] += len(r.Spans)
		reached["learned"] += len(r.Report.Learned)
		for _, k := range r.Report.Kept {
			for _, what := range []string{"relinked", "changed", "mixed", "moved", "united", "another"} {
				if strings.Contains(k.Reason, what) {
					reached[what]++
				}
			}
		}
		return true
	}
	return false
}

// Taking all merges back, the last one first, gives everybody what they had: nothing was learned but
// by pages, so every profile has just the attributes it was given itself.
func TestUnmergeAllLastFirst(t *testing.T) {
	s := applytest.NewStore(nil)
	at := start
	event1 := func(kind event.Type, payload string, ids ...event.Identifier) []apply.Merge {
		at = at.Add(time.Second)
		e := apply.Event{Tenant: tenant, MessageID: at.String(), Type: kind, At: at, ReceivedAt: at}
		if payload != "" {
			e.Payload = []byte(payload)
		}
		return applyOne(t, s, e, ids...).Merges
	}
	event1(event.Identify, `{"name":"Ann","address":{"city":"Miami"}}`, crm("u1"))
	event1(event.Identify, `{"name":"Bob","tags":"x","address":{"zip":"1"}}`, mail("b@x.org"))
	event1(event.Identify, `{"tags":["y"],"score":1.0,"prefs":{"mail":{"daily":true}}}`, phone("+491"))
	var merges []uuid.UUID
	for _, ids := range [][]event.Identifier{{mail("b@x.org"), phone("+491")}, {crm("u1"), phone("+491")}} {
		for _, m := range event1(event.Page, "", ids...) {
			merges = append(merges, m.MergeID)
		}
	}
	ann, _ := s.Owner(crm("u1").Node)
	if got := string(ann.Attributes.Text()); got != `{"address":{"city":"Miami","zip":"1"},"name":"Ann","prefs":{"mail":{"daily":true}},"score":1.0,"tags":["y","x"]}` &&
		got != `{"address":{"city":"Miami","zip":"1"},"name":"Ann","prefs":{"mail":{"daily":true}},"score":1.0,"tags":["x","y"]}` {
		t.Fatalf("merged: %s", got)
	}
	for _, order := range []string{"last first", "first first"} {
		t.Run(order, func(t *testing.T) {
			if len(merges) != 2 {
				t.Fatalf("%d merges", len(merges))
			}
			if order == "last first" {
				slices.Reverse(merges)
			}
			for _, m := range merges {
				if _, err := s.Unmerge(m, applytest.ProcessedAt); err != nil {
					t.Fatal(err)
				}
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
			}
			for id, want := range map[event.Identifier]string{
				crm("u1"):       `{"address":{"city":"Miami"},"name":"Ann"}`,
				mail("b@x.org"): `{"address":{"zip":"1"},"name":"Bob","tags":"x"}`,
				phone("+491"):   `{"prefs":{"mail":{"daily":true}},"score":1.0,"tags":["y"]}`,
			} {
				p, _ := s.Owner(id.Node)
				if got := string(p.Attributes.Text()); got != want {
					t.Errorf("%s: %s, want %s", id.Value, got, want)
				}
			}
			merges = merges[:0]
			for n, ids := range [][]event.Identifier{{mail("b@x.org"), phone("+491")}, {crm("u1"), phone("+491")}} {
				for _, m := range event1(event.Page, "", ids...) {
					merges = append(merges, m.MergeID)
				}
				if len(merges) != n+1 {
					t.Fatalf("they did not merge again")
				}
			}
		})
	}
}

// What was learned since stays with the winner, and is listed; so is what cannot return.
func TestUnmergeKeepsWhatHappenedSince(t *testing.T) {
	s := applytest.NewStore(nil)
	n := 0
	say := func(kind event.Type, payload string, ids ...event.Identifier) []apply.Merge {
		n++
		at := start.Add(time.Duration(n) * time.Second)
		e := apply.Event{Tenant: tenant, MessageID: "m" + strconv.Itoa(n), Type: kind, At: at, ReceivedAt: at}
		e.Name = "Order Completed"
		if payload != "" {
			e.Payload = []byte(payload)
		}
		return applyOne(t, s, e, ids...).Merges
	}
	say(event.Identify, `{"city":"Chicago","pet":"cat","car":"red"}`, device("d1"))
	say(event.Track, `{"order_id":"o1"}`, device("d1"))
	say(event.Track, `{"order_id":"o2"}`, device("d2"))
	say(event.Page, "", device("d1"))
	m0 := say(event.Page, "", device("d2"), crm("ann"))
	m := say(event.Page, "", device("d1"), crm("ann"))
	say(event.Identify, `{"city":"Miami","new":1}`, crm("ann"))
	say(event.Identify, ``, crm("bob"))
	say(event.Page, ``, device("d2"), crm("bob")) // relinks
	say(event.Track, `{"order_id":"o1"}`, crm("bob"))
	if len(m) != 1 || len(m0) != 1 {
		t.Fatal(m, m0)
	}
	r, err := s.Unmerge(m[0].MergeID, applytest.ProcessedAt)
	if err != nil {
		t.Fatal(err)
	}
	shadow, _ := s.Owner(device("d1").Node)
	ann, _ := s.Owner(crm("ann").Node)
	if got := string(shadow.Attributes.Text()); got != `{"car":"red","city":"Chicago","pet":"cat"}` || shadow.Kind != identity.Shadow || shadow.EventCount != 3 {
		t.Errorf("the shadow: %s %s %d", got, shadow.Kind, shadow.EventCount)
	}
	if got := string(ann.Attributes.Text()); got != `{"city":"Miami","new":1}` || ann.EventCount != 4 {
		t.Errorf("the anchor: %s %d", got, ann.EventCount)
	}
	if got := r.Report.Learned; !slices.Equal(got, []string{"/city", "/new"}) {
		t.Errorf("learned %v", got)
	}
	if got := r.Report.Attributes; !slices.Equal(got, []string{"/car", "/pet"}) {
		t.Errorf("lost %v", got)
	}
	var kept []string
	for _, k := range r.Report.Kept {
		kept = append(kept, k.What+" "+k.Name)
	}
	if !slices.Equal(kept, []string{"order o1", "attribute /city"}) {
		t.Errorf("kept %v", kept)
	}
	if _, err := s.Unmerge(m0[0].MergeID, applytest.ProcessedAt); !errors.Is(err, apply.ErrNothingReturns) {
		t.Errorf("a merge whose only device was relinked: %v", err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}
