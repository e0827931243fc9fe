package apply_test

import (
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

func TestCase_01_same_anonymous_id_in_two_tenants(t *testing.T) {
	there := applytest.ID(applytest.Strict, event.KindAnonymous, "a")
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(there).Tenant = applytest.Strict
	}, func(t *testing.T, e ending) {
		e.people(group(device("a")), group(there))
		if e.owner(there).ID != event.NodeID(applytest.Strict, event.KindAnonymous, "a") {
			t.Error("the profile's id is not the node id of the identifier that made it")
		}
	})
}

func TestCase_02_first_event_of_one_identifier_in_two_partitions(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"a":1}`, crm("u"))
		s.identify(`{"b":2}`, crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u")))
		e.attributes(crm("u"), `{"a":1,"b":2}`)
	})
}

func TestCase_06_identity_without_anonymous_id(t *testing.T) {
	tell(t, func(s *story) { s.identify(`{}`, crm("u")) }, func(t *testing.T, e ending) {
		e.people(group(crm("u")))
		e.counts("merges", len(e.Merges), 0)
		if p := e.owner(crm("u")); p.Kind != identity.Anchor || p.Version != 1 {
			t.Errorf("kind %s, version %d", p.Kind, p.Version)
		}
	})
}

func TestCase_07_neither_known(t *testing.T) {
	tell(t, func(s *story) { s.page(device("a"), crm("u")) }, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("u")))
		e.counts("profiles", len(e.Profiles), 1)
		e.counts("merges", len(e.Merges), 0)
	})
}

func TestCase_08_only_the_anchor_known(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"a":1}`, crm("u"))
		s.page(device("a"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("u")))
		e.attributes(crm("u"), `{"a":1}`)
		e.counts("merges", len(e.Merges), 0)
		e.counts("version", int(e.owner(crm("u")).Version), 2)
	})
}

func TestCase_09_only_the_shadow_known(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(device("a"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("u")))
		anchor := e.owner(crm("u"))
		if anchor.Kind != identity.Anchor || anchor.ID != crm("u").Node || anchor.EventCount != 2 {
			t.Errorf("the anchor is a %s with %d events", anchor.Kind, anchor.EventCount)
		}
		if into := e.Profiles[device("a").Node].MergedInto; into != anchor.ID {
			t.Error("the shadow's id does not lead to the anchor")
		}
		e.counts("merges", len(e.Merges), 1)
		if m := e.Merges[0]; m.Kind != identity.Collapsed || m.Cause != "m1" || len(m.MovedIdentifiers) != 1 || m.MovedIdentifiers[0].ProfileID != m.LoserID {
			t.Errorf("merge row: %s by %s moved %d identifiers", m.Kind, m.Cause, len(m.MovedIdentifiers))
		}
	})
}

func TestCase_10_collapse_merges_attributes_and_counters(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"a":1,"b":2}`, device("a"))
		s.identify(`{"b":3,"c":4}`, crm("u"))
		s.page(device("a"))
		s.identify(`{"d":6}`, device("a"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"a":1,"b":3,"c":4,"d":6}`)
		p := e.owner(crm("u"))
		if p.EventCount != 4 || p.IdentifyCount != 3 || p.PageCount != 1 || p.TrackCount != 0 {
			t.Errorf("counters: %d events, %d identify, %d page, %d track", p.EventCount, p.IdentifyCount, p.PageCount, p.TrackCount)
		}
		if !p.FirstSeen.Equal(start) || !p.LastSeen.Equal(start.Add(3*time.Second)) {
			t.Errorf("seen from %s to %s", p.FirstSeen, p.LastSeen)
		}
		e.counts("version: an identify, a merge, an identify", int(p.Version), 3)
		before := e.Merges[0]
		if string(before.Winner.Attributes) != `{"b":3,"c":4}` || string(before.Loser.Attributes) != `{"a":1,"b":2}` || before.Loser.EventCount != 2 {
			t.Errorf("the merge row does not hold the states before: %s, %s", before.Winner.Attributes, before.Loser.Attributes)
		}
	})
}

func TestCase_11_both_on_the_same_profile_already(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"), crm("u"))
		s.identify(`{"a":1}`, device("a"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.counts("merges", len(e.Merges), 0)
		e.counts("changes", len(e.paths()), 1)
	})
}

func TestCase_12_anonymous_id_equals_identity(t *testing.T) {
	tell(t, func(s *story) { s.page(device("x"), crm("x")) }, func(t *testing.T, e ending) {
		e.people(group(device("x"), crm("x")))
		e.counts("merges", len(e.Merges), 0)
	})
}

func TestCase_13_shared_device(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"), mail("ann@example.com"))
		s.page(device("a"))
		s.page(device("a"), mail("bob@example.com"))
		s.page(device("a"))
	}, func(t *testing.T, e ending) {
		e.people(group(mail("ann@example.com")), group(mail("bob@example.com"), device("a")))
		ann, bob := e.owner(mail("ann@example.com")), e.owner(mail("bob@example.com"))
		e.counts("Ann's events", int(ann.EventCount), 2)
		e.counts("Bob's events", int(bob.EventCount), 2)
		e.counts("merges", len(e.Merges), 0)
		e.counts("closed spans", len(e.Spans), 1)
		if s := e.Spans[applytest.SpanKey{Node: device("a").Node}]; s.ProfileID != ann.ID {
			t.Error("what the device did before is not Ann's")
		}
		if i := e.Identifiers[device("a").Node]; !i.ValidFrom.Equal(start.Add(2*time.Second + time.Millisecond)) {
			t.Errorf("the device is Bob's from %s", i.ValidFrom)
		}
	})
}

func TestCase_14_relinked_back(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"), crm("ann"))
		s.page(device("a"), crm("bob"))
		s.page(device("a"), crm("ann"))
		// What was Ann's follows her.
		s.page(mail("ann@example.com"))
		s.page(mail("ann@example.com"), phone("+15550100"))
		s.page(phone("+15550100"), crm("ann"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("ann"), device("a"), mail("ann@example.com"), phone("+15550100")), group(crm("bob")))
		e.counts("closed spans", len(e.Spans), 2)
		node := device("a").Node
		first, second := e.Spans[applytest.SpanKey{Node: node}], e.Spans[applytest.SpanKey{Node: node, From: start.Add(time.Second + time.Millisecond)}]
		if ann := e.owner(crm("ann")).ID; first.ProfileID != ann || second.ProfileID != e.owner(crm("bob")).ID {
			t.Error("the spans are not Ann's and Bob's")
		}
		if i := e.Identifiers[node]; !i.ValidFrom.Equal(start.Add(2*time.Second+time.Millisecond)) || i.Version != 3 {
			t.Errorf("the device is Ann's again from %s, version %d", i.ValidFrom, i.Version)
		}
	})
}

// The spans of a loser are its past, and become the winner's.
func TestCase_14_closed_spans_follow_their_owner(t *testing.T) {
	tell(t, func(s *story) {
		s.page(crm("ann"))
		s.page(device("a"), mail("ann@example.com"))
		s.page(device("a"), crm("bob"))
		s.page(crm("ann"), mail("ann@example.com"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("ann"), mail("ann@example.com")), group(crm("bob"), device("a")))
		if s := e.Spans[applytest.SpanKey{Node: device("a").Node}]; s.ProfileID != e.owner(crm("ann")).ID || s.Version != 2 {
			t.Error("the closed span did not follow Ann's second profile into her first")
		}
		e.counts("moved rows", len(e.Merges[0].MovedIdentifiers), 2)
	})
}

func TestCase_15_cookie_of_a_merged_shadow(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(device("a"), crm("u"))
		s.page(device("a"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("u")))
		e.counts("profiles", len(e.Profiles), 2)
		if p := e.owner(device("a")); p.EventCount != 3 || !p.LastSeen.Equal(start.Add(2*time.Second)) {
			t.Errorf("%d events, last seen %s", p.EventCount, p.LastSeen)
		}
	})
}

func TestCase_16_first_event_is_late(t *testing.T) {
	long := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)
	tell(t, func(s *story) {
		s.page(device("a")).At = long
		s.page(device("a"))
	}, func(t *testing.T, e ending) {
		p := e.owner(device("a"))
		if !p.FirstSeen.Equal(long) || !p.LastSeen.Equal(start.Add(time.Second)) || !p.CreatedAt.Equal(start.Add(time.Millisecond)) {
			t.Errorf("first seen %s, last seen %s, created at %s", p.FirstSeen, p.LastSeen, p.CreatedAt)
		}
	})
}
