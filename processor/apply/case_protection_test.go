package apply_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// conflict expects one conflict, and holds it against what matters of want.
func (e ending) conflict(want identity.Conflict) {
	e.t.Helper()
	if len(e.Conflicts) != 1 {
		e.t.Fatalf("%d conflicts, want 1", len(e.Conflicts))
	}
	got := e.Conflicts[0]
	if got.ID == uuid.Nil || got.Tenant != tenant || got.ReceivedAt.IsZero() || got.EventTime.IsZero() {
		e.t.Error("the conflict lacks an id, a tenant or times")
	}
	got.ID, got.Tenant, got.ReceivedAt, got.EventTime = want.ID, want.Tenant, want.ReceivedAt, want.EventTime
	if got != want {
		e.t.Errorf("conflict: %+v\nwant      %+v", got, want)
	}
}

func TestCase_27_second_crm_id_over_one_email(t *testing.T) {
	tell(t, func(s *story) {
		s.page(crm("u1"), mail("e1"))
		s.page(crm("u2"), mail("e1"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u1"), mail("e1")), group(crm("u2")))
		e.conflict(identity.Conflict{MessageID: "m1", ProfileID: crm("u2").Node, Reason: identity.MergeLimit,
			Node: mail("e1").Node, Kind: event.KindEmail, Value: "e1", LimitKind: event.KindCRM, Other: crm("u1").Node})
		e.counts("events of u2", int(e.owner(crm("u2")).EventCount), 1)
	})
}

func TestCase_28_an_email_shared_by_many(t *testing.T) {
	const customers = 300
	tell(t, func(s *story) {
		for n := range customers {
			s.page(crm("u"+strconv.Itoa(n)), mail("info@shop.example"))
		}
		for n := range customers {
			s.page(mail("info@shop.example"), device("d"+strconv.Itoa(n)))
		}
	}, func(t *testing.T, e ending) {
		e.counts("profiles", len(e.Live()), customers)
		for _, p := range e.Live() {
			e.counts("crm_ids of one profile", p.Owned.Of(event.KindCRM), 1)
		}
		e.counts("conflicts", len(e.Conflicts), customers-1)
		e.counts("merges", len(e.Merges), 0)
	})
}

func TestCase_29_merged_shadows_claim_two_crm_ids(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a"))
		s.page(device("b"))
		alias(s, device("a"), device("b"))
		s.page(device("a"), crm("u1"), mail("e"))
		s.page(crm("u2"), mail("e"), device("b"))
	}, func(t *testing.T, e ending) {
		// The second person is another one, and has the second device from then on.
		e.people(group(crm("u1"), device("a"), mail("e")), group(crm("u2"), device("b")))
		e.conflict(identity.Conflict{MessageID: "m4", ProfileID: crm("u2").Node, Reason: identity.MergeLimit,
			Node: mail("e").Node, Kind: event.KindEmail, Value: "e", LimitKind: event.KindCRM, Other: crm("u1").Node})
	})
}

func TestCase_30_too_many_devices(t *testing.T) {
	const most = 500
	tell(t, func(s *story) {
		for n := range most + 1 {
			s.page(device("kiosk-"+strconv.Itoa(n)), crm("u"))
		}
	}, func(t *testing.T, e ending) {
		p := e.owner(crm("u"))
		e.counts("devices", p.Owned.Of(event.KindAnonymous), most)
		e.counts("events", int(p.EventCount), most+1)
		if _, ok := e.Owner(device("kiosk-500").Node); ok {
			t.Error("the device over the limit has an owner")
		}
		e.conflict(identity.Conflict{MessageID: "m500", ProfileID: p.ID, Reason: identity.LinkLimit,
			Node: device("kiosk-500").Node, Kind: event.KindAnonymous, Value: "kiosk-500", LimitKind: event.KindAnonymous})
	})
}

func TestCase_30_limits_hold_for_collapses(t *testing.T) {
	tell(t, func(s *story) {
		s.limit(event.KindAnonymous, 2)
		s.page(device("a"), crm("u"))
		s.page(device("b"))
		alias(s, device("c"), device("b"))
		s.page(device("b"), crm("u"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("u")), group(device("b"), device("c")))
		e.conflict(identity.Conflict{MessageID: "m3", ProfileID: crm("u").Node, Reason: identity.CollapseLimit,
			Node: device("b").Node, Kind: event.KindAnonymous, Value: "b", LimitKind: event.KindAnonymous, Other: device("b").Node})
		e.counts("events of u", int(e.owner(crm("u")).EventCount), 2)
	})
}

func TestCase_30_limits_hold_for_relinks(t *testing.T) {
	tell(t, func(s *story) {
		s.limit(event.KindAnonymous, 1)
		s.page(device("a"), crm("ann"))
		s.page(device("b"), crm("bob"))
		s.page(device("a"), crm("bob"))
		s.page(device("a"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("a"), crm("ann")), group(device("b"), crm("bob")))
		e.conflict(identity.Conflict{MessageID: "m2", ProfileID: crm("bob").Node, Reason: identity.RelinkLimit,
			Node: device("a").Node, Kind: event.KindAnonymous, Value: "a", LimitKind: event.KindAnonymous, Other: crm("ann").Node})
		e.counts("events of ann", int(e.owner(crm("ann")).EventCount), 2)
	})
}

// The other links of an event that meets a limit happen.
func TestCase_30_other_links_happen(t *testing.T) {
	tell(t, func(s *story) {
		s.limit(event.KindEmail, 1)
		s.page(crm("u"), mail("e1"), mail("e2"), phone("+1"), device("a"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), mail("e1"), phone("+1"), device("a")))
		e.conflict(identity.Conflict{MessageID: "m0", ProfileID: crm("u").Node, Reason: identity.LinkLimit,
			Node: mail("e2").Node, Kind: event.KindEmail, Value: "e2", LimitKind: event.KindEmail})
	})
}

// A device that its alias's other profile has no room for gets a profile of its own, as a verified
// identifier does in case 27: the event must count for somebody who owns it.
func TestCase_30_limits_hold_for_aliases(t *testing.T) {
	tell(t, func(s *story) {
		s.limit(event.KindAnonymous, 1)
		s.page(device("old"))
		alias(s, device("old"), device("new"))
		alias(s, device("newer"), device("new"))
	}, func(t *testing.T, e ending) {
		e.people(group(device("old")), group(device("new")))
		e.counts("conflicts", len(e.Conflicts), 2)
		if a, b := e.Conflicts[0].Reason, e.Conflicts[1].Reason; a != identity.MergeLimit || b != identity.LinkLimit {
			t.Errorf("reasons: %s, %s", a, b)
		}
	})
}

func TestCase_41_attributes_beyond_the_limits(t *testing.T) {
	tooMany := make([]string, 2001)
	for n := range tooMany {
		tooMany[n] = fmt.Sprintf(`"k%d":1`, n)
	}
	tell(t, func(s *story) {
		s.identify(`{"a":1}`, crm("u"))
		s.identify("{"+strings.Join(tooMany, ",")+"}", crm("u"))
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"a":1}`)
		p := e.owner(crm("u"))
		e.counts("events", int(p.EventCount), 2)
		if !p.AttributesAt.Equal(start) {
			t.Errorf("a refused identify moved attributes_at to %s", p.AttributesAt)
		}
		e.conflict(identity.Conflict{MessageID: "m1", ProfileID: crm("u").Node, Reason: identity.AttributeLimit})
	})
}

// Two profiles that are not too large each may be so together: they merge all the same.
func TestCase_41_attributes_beyond_the_limits_together(t *testing.T) {
	many := func(prefix string) string {
		leaves := make([]string, 1500)
		for n := range leaves {
			leaves[n] = fmt.Sprintf(`"%s%d":1`, prefix, n)
		}
		return "{" + strings.Join(leaves, ",") + "}"
	}
	tell(t, func(s *story) {
		s.identify(many("a"), crm("u"))
		s.identify(many("b"), mail("e"))
		s.page(crm("u"), mail("e"))
	}, func(t *testing.T, e ending) {
		e.people(group(crm("u"), mail("e")))
		if p := e.owner(crm("u")); strings.Contains(string(p.Attributes.Text()), `"b0"`) || p.EventCount != 3 {
			t.Error("the loser's attributes were merged, or its events lost")
		}
		if !strings.Contains(string(e.Merges[0].Loser.Attributes), `"b1499"`) {
			t.Error("the merge row does not keep the loser's attributes")
		}
		e.conflict(identity.Conflict{MessageID: "m2", ProfileID: crm("u").Node, Reason: identity.AttributeLimit, Other: mail("e").Node})
	})
}
