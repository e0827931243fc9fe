package apply_test

import (
	"strconv"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

func TestCase_18_chain(t *testing.T) {
	tell(t, func(s *story) {
		s.page(mail("a"))
		s.page(mail("b"))
		s.page(mail("c"))
		s.page(mail("a"), mail("b"))
		s.page(mail("b"), mail("c"))
	}, func(t *testing.T, e ending) {
		e.people(group(mail("a"), mail("b"), mail("c")))
		if e.owner(mail("c")).ID != mail("a").Node {
			t.Error("the winner is not the one created first")
		}
	})
}

// The same chain, its last link first, and its middle never seen before.
func TestCase_18_chain_from_both_ends(t *testing.T) {
	tell(t, func(s *story) {
		s.page(mail("c"), mail("d"))
		s.page(mail("a"), mail("b"))
		s.page(mail("b"), mail("c"))
	}, func(t *testing.T, e ending) { e.people(group(mail("a"), mail("b"), mail("c"), mail("d"))) })
}

func TestCase_19_fan_in(t *testing.T) {
	name := func(n int) event.Identifier { return device("d" + strconv.Itoa(n)) }
	tell(t, func(s *story) {
		for n := range 7 {
			s.page(name(n))
		}
		for n := range 6 {
			s.page(name(n), crm("u"))
		}
		s.page(crm("u"))
		s.page(name(6), crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), name(0), name(1), name(2), name(3), name(4), name(5), name(6)))
		e.counts("merges", len(e.Merges), 7)
		e.counts("events", int(e.owner(crm("u")).EventCount), 15)
	})
}

func TestCase_20_diamond(t *testing.T) {
	tell(t, func(s *story) {
		s.page(mail("top"))
		s.page(mail("left"))
		s.page(mail("right"))
		s.page(mail("top"), mail("left"))
		s.page(mail("top"), mail("right"))
		s.page(mail("left"), phone("+1"))
		s.page(mail("right"), phone("+1"))
	}, func(t *testing.T, e ending) {
		e.people(group(mail("top"), mail("left"), mail("right"), phone("+1")))
		e.counts("merges", len(e.Merges), 2)
	})
}

func TestCase_21_two_pairs_never_touch(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(device("b"))
		s.page(device("a"), crm("ann"))
		s.page(device("b"), crm("bob"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("ann")), group(device("b"), crm("bob")))
	})
}

func TestCase_22_root_of_a_group_is_absorbed_later(t *testing.T) {
	tell(t, func(s *story) {
		s.page(phone("+1"))
		s.page(device("a"))
		s.page(mail("a"))
		s.page(device("a"), mail("a")) // a's shadow points at a
		s.page(mail("a"), phone("+1")) // a points at +1
		s.page(device("b"))            //
		s.page(device("b"), phone("+1"))
	}, func(t *testing.T, e ending) {
		e.people(group(phone("+1"), mail("a"), device("a"), device("b")))
		for _, i := range group(device("a"), mail("a"), device("b")) {
			if e.Profiles[i.Node].MergedInto != phone("+1").Node {
				t.Errorf("the tombstone of %s does not point at the root", i.Value)
			}
		}
	})
}

func TestCase_23_two_groups_bridged(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(device("a"), mail("a"))
		s.page(device("b"))
		s.page(device("b"), phone("+1"))
		s.page(mail("a"), phone("+1"))
	}, func(t *testing.T, e ending) {
		e.people(group(mail("a"), phone("+1"), device("a"), device("b")))
		for id, p := range e.Profiles {
			if id != mail("a").Node && p.MergedInto != mail("a").Node {
				t.Error("a tombstone does not point at the root")
			}
		}
	})
}

func TestCase_24_one_event_naming_three_anchors(t *testing.T) {
	tell(t, func(s *story) {
		s.page(phone("+1"))
		s.page(crm("u"))
		s.page(mail("a"))
		s.page(crm("u"), mail("a"), phone("+1"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), mail("a"), phone("+1")))
		e.counts("merges", len(e.Merges), 2)
		// In priority order: crm_id and email first, the older of which then meets the phone's.
		if a, b := e.Merges[0], e.Merges[1]; a.WinnerID != crm("u").Node || a.LoserID != mail("a").Node || b.WinnerID != phone("+1").Node || b.LoserID != crm("u").Node {
			t.Error("the merges are not those of the pairs in priority order")
		}
		if e.Merges[0].MergeID == e.Merges[1].MergeID || e.Merges[0].MergeID == uuid.Nil {
			t.Error("the merges have no ids of their own")
		}
	})
}

func TestCase_25_two_identifiers_of_one_profile(t *testing.T) {
	tell(t, func(s *story) {
		s.page(crm("u"), mail("a"))
		s.page(crm("u"), mail("a"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), mail("a")))
		e.counts("merges", len(e.Merges), 0)
		e.counts("conflicts", len(e.Conflicts), 0)
	})
}

func TestCase_26_bridge_with_a_new_identifier(t *testing.T) {
	tell(t, func(s *story) {
		s.page(mail("a"))
		s.page(phone("+1"))
		s.page(crm("new"), mail("a"), phone("+1"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("new"), mail("a"), phone("+1")))
		e.counts("merges", len(e.Merges), 1)
	})
}

func alias(s *story, ids ...event.Identifier) { s.happens(event.Alias, ids...) }

func TestAliasOfTwoDevices(t *testing.T) {
	old, now := device("old"), device("new")
	for name, c := range map[string]struct {
		before func(s *story)
		people [][]event.Identifier
		owner  event.Identifier // created the profile the alias counts for
		merges string
	}{
		"both new":              {func(*story) {}, [][]event.Identifier{group(old, now)}, now, ""},
		"only the old known":    {func(s *story) { s.page(old) }, [][]event.Identifier{group(old, now)}, old, ""},
		"only the new known":    {func(s *story) { s.page(now) }, [][]event.Identifier{group(old, now)}, now, ""},
		"two shadows":           {func(s *story) { s.page(old); s.page(now) }, [][]event.Identifier{group(old, now)}, old, identity.Merged},
		"the later is the old":  {func(s *story) { s.page(now); s.page(old) }, [][]event.Identifier{group(old, now)}, now, identity.Merged},
		"the old has an anchor": {func(s *story) { s.page(now); s.page(old, crm("u")) }, [][]event.Identifier{group(old, now, crm("u"))}, crm("u"), identity.Collapsed},
		"the new has an anchor": {func(s *story) { s.page(old); s.page(now, crm("u")) }, [][]event.Identifier{group(old, now, crm("u"))}, crm("u"), identity.Collapsed},
		"two anchors": {func(s *story) { s.page(old, crm("u")); s.page(now, crm("v")) },
			[][]event.Identifier{group(old, crm("u")), group(now, crm("v"))}, crm("v"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) { c.before(s); alias(s, old, now) }, func(t *testing.T, e ending) {
				e.people(c.people...)
				e.counts("conflicts", len(e.Conflicts), 0)
				if p := e.Profiles[c.owner.Node]; p.MergedInto != uuid.Nil || !p.LastSeen.Equal(lastAt(e)) {
					t.Errorf("the alias does not count for the profile of %s", c.owner.Value)
				}
				if got := kinds(e); got != c.merges {
					t.Errorf("merges: %q, want %q", got, c.merges)
				}
			})
		})
	}
}

func TestAliasOfADeviceAndAPerson(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("old"))
		s.page(device("new"))
		alias(s, device("old"), device("new"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), device("old"), device("new")))
		e.counts("merges", len(e.Merges), 2)
	})
}
