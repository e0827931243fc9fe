package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/outbox"
)

// What unmerges leave in SQL is, row by row, what the same ones leave in memory; and events go on
// over it in the same way.
func TestUnmergedStoreEqualsMemory(t *testing.T) {
	var undone, onwards, followers, refused int
	for seed := range 8 {
		log := applytest.Logs(120).Example(seed)
		half := len(log) / 2
		want := applytest.NewStore(applytest.Settings())
		s := newStore(t, newDSN(t))
		s.now = func() time.Time { return applytest.ProcessedAt }
		for n, part := range [][]applytest.Entry{log[:half], log[half:]} {
			for _, x := range part {
				if _, err := want.Apply(x.Lane, []apply.Event{x.Event}, applytest.ProcessedAt); err != nil {
					t.Fatal(err)
				}
			}
			playSQL(t, s, part, applytest.Singly)
			for i := 0; ; i++ {
				merges := want.InForce()
				if i >= 3 || len(merges) == 0 {
					break
				}
				slices.SortFunc(merges, func(a, b apply.Merge) int { return bytes.Compare(a.MergeID[:], b.MergeID[:]) })
				m := merges[(seed+i)%len(merges)]
				for _, x := range merges { // of the middle of a chain, where there is one
					if slices.ContainsFunc(merges, func(y apply.Merge) bool {
						return i == 0 && y.WinnerID == x.LoserID || i == 1 && y.LoserID == x.WinnerID
					}) {
						m = x
					}
				}
				inMemory, wantErr := want.Unmerge(m.MergeID, applytest.ProcessedAt)
				report, err := s.Unmerge(context.Background(), m.Tenant, m.MergeID)
				if wantErr != nil {
					if !errors.Is(err, apply.ErrNothingReturns) && !errors.Is(err, apply.ErrNothingStays) || !errors.Is(wantErr, errors.Unwrap(errors.Unwrap(err))) {
						t.Fatalf("in memory: %v, in SQL: %v", wantErr, err)
					}
					refused++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if a, b := asJSON(t, inMemory.Report), asJSON(t, report); a != b {
					t.Fatalf("in memory: %s\nin SQL: %s", a, b)
				}
				undone++
				onwards += len(inMemory.Later)
				followers += len(inMemory.Followers)
			}
			if diff := wantedDiff(want, dumpSQL(t, s)); diff != "" {
				t.Fatalf("seed %d, part %d: memory (-) and the state store (+) differ:\n%s", seed, n, diff)
			}
		}
	}
	t.Logf("%d unmerges, %d merges passed, %d followers, %d refused", undone, onwards, followers, refused)
	if undone == 0 || onwards == 0 || followers == 0 {
		t.Error("the logs tested too little")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// collapsed is a store in which a visitor with a device, an order and a trait has logged in.
func collapsed(t *testing.T) (s *Store, ann, device event.Identifier, merge uuid.UUID) {
	t.Helper()
	s = newStore(t, newDSN(t))
	device, ann = applytest.ID(applytest.Lenient, event.KindAnonymous, "d1"), applytest.ID(applytest.Lenient, event.KindCRM, "ann")
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	say := func(id string, kind event.Type, payload string, ids event.Identifiers) apply.Event {
		at = at.Add(time.Second)
		return apply.Event{Tenant: applytest.Lenient, MessageID: id, Type: kind, Name: "Order Completed", IDs: ids, Payload: []byte(payload), At: at, ReceivedAt: at}
	}
	anonymous, verified := event.Identifiers{Anonymous: []event.Identifier{device}}, event.Identifiers{Verified: []event.Identifier{ann}}
	both := event.Identifiers{Anonymous: anonymous.Anonymous, Verified: verified.Verified}
	l := claim(t, s, 0)
	if _, err := s.Apply(context.Background(), l.batch([]apply.Event{
		say("m1", event.Identify, `{"city":"Chicago","pet":"cat"}`, anonymous),
		say("m2", event.Track, `{"order_id":"o1"}`, anonymous),
		say("m3", event.Identify, `{"name":"Ann"}`, verified),
		say("m4", event.Page, `{}`, both),
		say("m5", event.Identify, `{"city":"Miami"}`, verified),
	})); err != nil {
		t.Fatal(err)
	}
	for m, err := range s.Merges(context.Background(), applytest.Lenient) {
		if err != nil {
			t.Fatal(err)
		}
		merge = m.MergeID
	}
	return s, ann, device, merge
}

func TestUnmerge(t *testing.T) {
	ctx := context.Background()
	s, ann, device, merge := collapsed(t)
	if _, err := s.Unmerge(ctx, applytest.Lenient, uuid.New()); !errors.Is(err, ErrUnknownMerge) {
		t.Errorf("an unknown merge: %v", err)
	}
	if _, err := s.Unmerge(ctx, applytest.Strict, merge); !errors.Is(err, ErrUnknownMerge) {
		t.Errorf("another tenant's merge: %v", err)
	}
	if left, err := s.Unpublished(ctx, UnmergeSource, 0, -1); err != nil || len(left) != 0 {
		t.Errorf("refused unmerges left %d batches, %v", len(left), err)
	}
	report, err := s.Unmerge(ctx, applytest.Lenient, merge)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(report.Attributes, []string{"/pet"}) || !slices.Equal(report.Learned, []string{"/city"}) || len(report.Kept) != 1 || report.EventCount != 2 {
		t.Errorf("%+v", report)
	}
	profiles := map[uuid.UUID]*ProfileRow{}
	for p, err := range s.Profiles(ctx, applytest.Lenient, true) {
		if err != nil {
			t.Fatal(err)
		}
		profiles[p.ProfileID] = p
	}
	for id, want := range map[uuid.UUID]string{device.Node: `{"city":"Chicago","pet":"cat"}`, ann.Node: `{"city":"Miami","name":"Ann"}`} {
		if p := profiles[id]; string(p.Attributes) != want || p.MergedInto != nil || len(p.Identifiers) != 1 {
			t.Errorf("%s: %s, %v", id, p.Attributes, p.Identifiers)
		}
	}
	if _, err := s.Unmerge(ctx, applytest.Lenient, merge); !errors.Is(err, ErrUndone) {
		t.Errorf("a second time: %v", err)
	}
	checkUnmergeOutbox(t, s, ann, device)
}

// checkUnmergeOutbox: the column store hears of both profiles, of the identifier and of the order, in
// versions above those it knows.
func checkUnmergeOutbox(t *testing.T, s *Store, ann, device event.Identifier) {
	t.Helper()
	left, err := s.Unpublished(context.Background(), UnmergeSource, 0, -1)
	if err != nil || len(left) != 1 {
		t.Fatalf("%d batches, %v", len(left), err)
	}
	changes := map[uuid.UUID]event.Change{}
	for _, r := range left[0].Records {
		var c event.Change
		if err := json.Unmarshal(r.Value, &c); err != nil {
			t.Fatal(err)
		}
		changes[c.ProfileID] = c
		if r.Topic != event.TopicChanges || string(r.Headers[0].Value) != UnmergeSource {
			t.Errorf("topic %s, source %s", r.Topic, r.Headers[0].Value)
		}
	}
	loser, winner := changes[device.Node], changes[ann.Node]
	if len(loser.Identifiers) != 1 || loser.Identifiers[0].Version != 3 || loser.Identifiers[0].ProfileID != device.Node {
		t.Errorf("the map: %+v", loser.Identifiers)
	}
	if loser.Profile == nil || loser.Profile.Kind != string(identity.Shadow) || loser.Profile.EventCount != 2 || loser.Profile.Version != 4 || len(loser.Orders) != 1 {
		t.Errorf("the loser: %+v %+v", loser.Profile, loser.Orders)
	}
	if winner.Profile == nil || winner.Profile.EventCount != 3 || len(winner.Lineage) != 1 || winner.Lineage[0].CauseKind != "unmerge" {
		t.Errorf("the winner: %+v %+v", winner.Profile, winner.Lineage)
	}
}

// A message that merges the two again after its id was forgotten puts its merge in force again.
func TestUnmergedMessageComesAgain(t *testing.T) {
	ctx := context.Background()
	s, ann, device, merge := collapsed(t)
	for range 2 {
		if _, err := s.Unmerge(ctx, applytest.Lenient, merge); err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(ctx, `DELETE FROM message_ids`); err != nil {
			t.Fatal(err)
		}
		s.memory = newMemory(s.cfg.SeenFor)
		at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		if _, err := s.Apply(ctx, claim(t, s, 0).batch([]apply.Event{{Tenant: applytest.Lenient, MessageID: "m4", Type: event.Page, At: at, ReceivedAt: at,
			IDs: event.Identifiers{Anonymous: []event.Identifier{device}, Verified: []event.Identifier{ann}}}})); err != nil {
			t.Fatal(err)
		}
		for m, err := range s.Merges(ctx, applytest.Lenient) {
			if err != nil || m.MergeID != merge || m.UndoneAt != nil {
				t.Errorf("%s, taken back %v: %v", m.MergeID, m.UndoneAt, err)
			}
		}
	}
}

// Of several who take the same merge back at once, one does.
func TestUnmergeAtOnce(t *testing.T) {
	s, _, _, merge := collapsed(t)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.Unmerge(context.Background(), applytest.Lenient, merge) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrUndone) {
			t.Error(err)
		}
	}
	if left, err := s.Unpublished(context.Background(), UnmergeSource, 0, -1); done != 1 || err != nil || len(left) != 1 {
		t.Errorf("%d took it back, %d batches in the outbox, %v", done, len(left), err)
	}
}

// What a command that died after its commit has left is produced by the next one, once.
func TestUnmergeIsProducedLater(t *testing.T) {
	ctx := context.Background()
	s, _, _, merge := collapsed(t)
	if _, err := s.Unmerge(ctx, applytest.Lenient, merge); err != nil {
		t.Fatal(err)
	}
	brokers := enginetest.Broker(t, enginetest.Topic{Name: event.TopicChanges, Partitions: 1})
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(event.TopicChanges))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	publisher, err := outbox.New(outbox.DefaultConfig(), client, s, slog.New(slog.DiscardHandler), outbox.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := publisher.Open(UnmergeSource, 0, math.MaxInt64).Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := s.Unpublished(ctx, UnmergeSource, 0, -1); err != nil || len(left) != 0 {
		t.Errorf("%d batches are left, %v", len(left), err)
	}
	end, err := kadm.NewClient(client).ListEndOffsets(ctx, event.TopicChanges)
	if o, _ := end.Lookup(event.TopicChanges, 0); err != nil || o.Offset != 2 {
		t.Errorf("%d records, want one for each profile: %v", o.Offset, err)
	}
}

func TestExplain(t *testing.T) {
	ctx := context.Background()
	s, ann, device, merge := collapsed(t)
	s.cfg.ReadPage = 1
	if _, err := s.Explain(ctx, applytest.Strict, ann.Node); !errors.Is(err, ErrUnknownProfile) {
		t.Errorf("another tenant's profile: %v", err)
	}
	explain := func() Explained {
		t.Helper()
		x, err := s.Explain(ctx, applytest.Lenient, device.Node)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := explain()
	if x.Asked == nil || x.Asked.ProfileID != device.Node || x.Profile.ProfileID != ann.Node || x.CreatedBy.Value != "ann" ||
		len(x.Spans) != 2 || len(x.Merges) != 1 || x.Merges[0].MergeID != merge || x.Merges[0].UndoneAt != nil {
		t.Errorf("merged: %s", asJSON(t, x))
	}
	var paths []string
	for c, err := range s.LineageOf(ctx, applytest.Lenient, ann.Node) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, c.Path+" "+c.CauseKind)
	}
	if want := []string{"/name event", "/city merge", "/pet merge", "/city event"}; !slices.Equal(paths, want) {
		t.Errorf("lineage %q, want %q", paths, want)
	}
	if _, err := s.Unmerge(ctx, applytest.Lenient, merge); err != nil {
		t.Fatal(err)
	}
	if x = explain(); x.Asked != nil || x.Profile.ProfileID != device.Node || len(x.Spans) != 1 || len(x.Merges) != 1 || x.Merges[0].UndoneAt == nil {
		t.Errorf("taken back: %s", asJSON(t, x))
	}
}
