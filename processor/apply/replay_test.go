package apply_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// A replay makes of people what the processor's batches make of them, to the byte.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []applytest.Entry
		for _, x := range applytest.Logs(logLength).Draw(t, "log") {
			if x.Event.Tenant == applytest.Strict {
				log = append(log, x)
			}
		}
		want := play(t, log, cuts(t, len(log)))
		r, seen, settings := apply.NewReplay(), map[string]bool{}, applytest.Settings()[applytest.Strict]
		var merges []uuid.UUID
		var conflicts []identity.Conflict
		for _, x := range log {
			if seen[x.Event.MessageID] {
				continue
			}
			seen[x.Event.MessageID] = true
			step := r.Apply(x.Lane, settings, &x.Event)
			for _, m := range step.Merges {
				merges = append(merges, m.MergeID)
			}
			conflicts = append(conflicts, step.Conflicts...)
			if step.Profile.MergedInto != uuid.Nil {
				t.Fatalf("%s counts for a tombstone", x.Event.MessageID)
			}
		}
		if !slices.Equal(conflicts, want.Conflicts) || !slices.EqualFunc(merges, want.Merges, func(id uuid.UUID, m apply.Merge) bool { return id == m.MergeID }) {
			t.Fatalf("conflicts or merges differ: %v and %v", conflicts, want.Conflicts)
		}
		if len(r.Profiles()) != len(want.Profiles) || len(r.Identifiers()) != len(want.Identifiers) {
			t.Fatalf("%d profiles, want %d; %d identifiers, want %d", len(r.Profiles()), len(want.Profiles), len(r.Identifiers()), len(want.Identifiers))
		}
		for id, p := range want.Profiles {
			got, exp := r.Profiles()[id].State(), p.State()
			got.UpdatedAt, got.MergedInto = exp.UpdatedAt, exp.MergedInto // no clock; chains are the store's business
			if !reflect.DeepEqual(got, exp) || (r.Profiles()[id].MergedInto == uuid.Nil) != (p.MergedInto == uuid.Nil) {
				t.Fatalf("profile %+v, want %+v", got, exp)
			}
		}
		for node, i := range want.Identifiers {
			if got := r.Identifiers()[node].State(); got != i.State() {
				t.Fatalf("identifier %+v, want %+v", got, i.State())
			}
		}
	})
}
