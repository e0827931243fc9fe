package applytest

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// A property proves nothing about what its logs never do.
func TestLogsReachEverything(t *testing.T) {
	reached := map[string]int{}
	for seed := range 300 {
		log := Logs(60).Example(seed)
		s, err := Play(Settings(), log, func(n int) bool { return n%5 == 0 })
		if err != nil {
			t.Fatal(err)
		}
		reach(reached, s, log)
	}
	want := []string{"collapse", "merge of anchors", "merge of shadows", "relink", "chain of merges", "several merges by one event",
		"rerun", "moved span", "moved order", "late change", "repeated message", "two anonymous", "lineage of a merge",
		"add", "update", "replace", "union", "append", "remove"}
	for _, r := range identity.Reasons {
		if r != identity.AttributeLimit { // too much for logs of this size: TestCase_41
			want = append(want, string(r))
		}
	}
	for _, what := range want {
		if reached[what] < 5 {
			t.Errorf("%s: reached %d times", what, reached[what])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(reached)) {
		t.Logf("%-30s %d", what, reached[what])
	}
}

func reach(n map[string]int, s *Store, log []Entry) {
	causes, winners, seen := map[string]int{}, map[uuid.UUID]bool{}, map[string]bool{}
	for _, m := range s.Merges {
		switch {
		case m.Kind == identity.Collapsed:
			n["collapse"]++
		case m.Winner.Kind == string(identity.Shadow):
			n["merge of shadows"]++
		default:
			n["merge of anchors"]++
		}
		if causes[m.Cause+m.Tenant.String()]++; causes[m.Cause+m.Tenant.String()] == 2 {
			n["several merges by one event"]++
		}
		if winners[m.WinnerID] = true; winners[m.LoserID] {
			n["chain of merges"]++
		}
		if len(m.MovedOrders) > 0 {
			n["moved order"]++
		}
	}
	for _, c := range s.Conflicts {
		n[string(c.Reason)]++
	}
	n["relink"] += len(s.Spans)
	n["rerun"] += s.Reruns
	n["moved span"] += s.MovedSpans
	for _, l := range s.Lineage {
		for _, c := range l.Changes {
			n[c.Op]++
			if c.CauseKind == "merge" {
				n["lineage of a merge"]++
			}
		}
	}
	for _, e := range log {
		if key := e.Event.Tenant.String() + e.Event.MessageID; seen[key] {
			n["repeated message"]++
		} else {
			seen[key] = true
		}
		if len(e.Event.IDs.Anonymous) > 1 {
			n["two anonymous"]++
		}
		if p, ok := s.Owner(e.Event.IDs.Routing().Node); ok && e.Event.Type == event.Identify && e.Event.At.Before(p.AttributesAt) {
			n["late change"]++
		}
	}
}
