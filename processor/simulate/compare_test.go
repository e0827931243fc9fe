package simulate

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
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/model"
)

// rules are what a property plays a log under: settings, and a kind of identifiers that these rules do
// not read at all.
type rules struct {
	Settings event.Settings
	Blind    string
}

// someRules are strict in one way or another.
var someRules = rapid.Custom(func(t *rapid.T) rules {
	s := *applytest.Settings()[applytest.Strict]
	s.Limits = map[string]int{}
	for _, kind := range []string{event.KindAnonymous, event.KindEmail, event.KindPhone, event.KindCRM, applytest.Loyalty} {
		s.Limits[kind] = rapid.IntRange(1, 4).Draw(t, kind)
	}
	return rules{s, rapid.SampledFrom([]string{"", "", event.KindPhone, applytest.Loyalty, event.KindEmail}).Draw(t, "blind")}
})

// reads is what the rules make of a log: the strict tenant's events.
func (r rules) reads(log []applytest.Entry) (all []applytest.Entry) {
	for _, x := range log {
		if x.Event.Tenant != applytest.Strict {
			continue
		}
		x.Event.IDs.Verified = slices.DeleteFunc(slices.Clone(x.Event.IDs.Verified), func(i event.Identifier) bool { return i.Kind == r.Blind })
		if !x.Event.IDs.Empty() {
			all = append(all, x)
		}
	}
	return all
}

func (r rules) play(log []applytest.Entry) *Outcome {
	s, seen := newSide(), map[string]bool{}
	for _, x := range r.reads(log) {
		if !seen[x.Event.MessageID] {
			seen[x.Event.MessageID] = true
			s.apply(x.Lane, &r.Settings, &x.Event)
		}
	}
	return s.outcome()
}

// model is what the model makes of a log, but for the joins, of which it knows none.
func (r rules) model(log []applytest.Entry) *Outcome {
	m := applytest.PlayModel(map[uuid.UUID]*event.Settings{applytest.Strict: &r.Settings}, r.reads(log))
	o := NewOutcome()
	for id, p := range m.Profiles {
		if p.MergedInto == uuid.Nil {
			o.Profiles[id] = &Profile{ID: id, Kind: p.Kind, Events: p.EventCount}
		}
	}
	for node, i := range m.Identifiers {
		o.Own(i.Spans[len(i.Spans)-1].Profile, Identifier{Node: node, Kind: i.Kind, Value: i.Value})
	}
	for _, c := range m.Conflicts {
		o.Conflicts = append(o.Conflicts, conflict(c, m))
	}
	o.sort()
	return o
}

func conflict(c model.Conflict, m *model.Model) identity.Conflict {
	x := identity.Conflict{MessageID: c.MessageID, ProfileID: c.Profile, Reason: identity.Reason(c.Reason), Node: c.Node, LimitKind: c.LimitKind, Other: c.Other}
	if i := m.Identifiers[c.Node]; i != nil {
		x.Kind, x.Value = i.Kind, i.Value
	}
	return x
}

const logLength = 80

// The same rules on both sides make no difference.
func TestSameRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log, r := applytest.Logs(logLength).Draw(t, "log"), someRules.Draw(t, "rules")
		if c := Compare(r.play(log), r.play(log)); len(c.Differences)+len(c.Conflicts) > 0 {
			t.Fatalf("%+v", c)
		}
	})
}

var mirrored = map[Kind]Kind{Merged: Split, Split: Merged, Regrouped: Regrouped, Changed: Changed, Appears: Vanishes, Vanishes: Appears}

// What merges when the rules change splits when they change back, by the same messages.
func TestSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		a, b := someRules.Draw(t, "a").play(log), someRules.Draw(t, "b").play(log)
		there, back := Compare(a, b), Compare(b, a)
		for n := range back.Differences {
			d := &back.Differences[n]
			d.Kind, d.Current, d.New, d.CurrentJoins, d.NewJoins = mirrored[d.Kind], d.New, d.Current, d.NewJoins, d.CurrentJoins
		}
		for n := range back.Conflicts {
			back.Conflicts[n].Appears = !back.Conflicts[n].Appears
		}
		same(t, there, back)
	})
}

// same holds two comparisons against each other, whatever the order of their differences.
func same(t rapid.TB, a, b Comparison) {
	t.Helper()
	if x, y := lines(t, a.Differences), lines(t, b.Differences); !slices.Equal(x, y) {
		t.Fatalf("differences:\n%s\nand\n%s", x, y)
	}
	if x, y := lines(t, a.Conflicts), lines(t, b.Conflicts); !slices.Equal(x, y) {
		t.Fatalf("conflicts:\n%s\nand\n%s", x, y)
	}
}

// Two plays compare as two runs of the independently written model do.
func TestAsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log, a, b := applytest.Logs(logLength).Draw(t, "log"), someRules.Draw(t, "a"), someRules.Draw(t, "b")
		got, want := Compare(a.play(log), b.play(log)), Compare(a.model(log), b.model(log))
		for n := range got.Differences {
			got.Differences[n].NewJoins, got.Differences[n].CurrentJoins = nil, nil
		}
		for n := range got.Conflicts {
			got.Conflicts[n].Kind, got.Conflicts[n].Value = "", "" // the model keeps the node
			want.Conflicts[n].Kind, want.Conflicts[n].Value = "", ""
		}
		for n := range want.Differences {
			want.Differences[n].NewJoins, want.Differences[n].CurrentJoins = nil, nil
		}
		same(t, got, want)
	})
}

// The causes are enough, and no more than that: in every profile they join just what the other side
// keeps apart.
func TestCausesAreComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		a, b := someRules.Draw(t, "a").play(log), someRules.Draw(t, "b").play(log)
		for _, x := range [...][2]*Outcome{{a, b}, {b, a}} {
			mine, others := x[0], x[1]
			for _, p := range mine.Profiles {
				apart, strangers := map[uuid.UUID]bool{}, 0
				for _, i := range p.Identifiers {
					if o, ok := others.Owners[i.Node]; ok {
						apart[o] = true
					} else {
						strangers++
					}
				}
				var joins []Join
				for _, j := range mine.Joins {
					if mine.Owners[j.Node] == p.ID {
						joins = append(joins, j)
					}
				}
				n := 0
				for _, j := range needed(joins, mine, others) {
					if j.Node != j.With {
						n++
					}
				}
				if want := len(apart) + strangers - 1; n != want {
					t.Fatalf("profile %s: %d joins bring %d together", p.ID, n, want+1)
				}
			}
		}
	})
}

// Each identifier and profile is in one difference at most, and what is in none is on both sides.
func TestDifferencesCoverAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := applytest.Logs(logLength).Draw(t, "log")
		a, b := someRules.Draw(t, "a").play(log), someRules.Draw(t, "b").play(log)
		current, proposed := map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
		once := func(seen map[uuid.UUID]bool, profiles []Profile) {
			for _, p := range profiles {
				if seen[p.ID] {
					t.Fatalf("profile %s is in two differences", p.ID)
				}
				seen[p.ID] = true
			}
		}
		for _, d := range Compare(a, b).Differences {
			once(current, d.Current)
			once(proposed, d.New)
			if (d.Kind == Merged) != (len(d.Current) > 1 && len(d.New) == 1) || (d.Kind == Split) != (len(d.Current) == 1 && len(d.New) > 1) {
				t.Fatalf("%d profiles into %d are a %s", len(d.Current), len(d.New), d.Kind)
			}
			if len(d.NewJoins)+len(d.CurrentJoins) == 0 && d.Kind != Changed {
				t.Fatalf("a %s without a cause", d.Kind)
			}
		}
		for id, p := range a.Profiles {
			if current[id] {
				continue
			}
			q := b.Profiles[id]
			if q == nil || proposed[id] || !slices.Equal(p.Identifiers, q.Identifiers) {
				t.Fatalf("profile %s differs and is in no difference", id)
			}
		}
		if len(a.Profiles)-len(current) != len(b.Profiles)-len(proposed) {
			t.Fatal("a profile of the new rules is in no difference")
		}
	})
}

// story is a log of the strict tenant, an event a second.
type story []applytest.Entry

func (s *story) event(ids ...event.Identifier) {
	n := len(*s) + 1
	at := time.Date(2026, 11, 23, 10, 0, n, 0, time.UTC)
	e := apply.Event{Tenant: applytest.Strict, MessageID: "m" + strconv.Itoa(n), Type: event.Page, At: at, ReceivedAt: at}
	for _, i := range ids {
		if i.Kind == event.KindAnonymous {
			e.IDs.Anonymous = append(e.IDs.Anonymous, i)
		} else {
			e.IDs.Verified = append(e.IDs.Verified, i)
		}
	}
	*s = append(*s, applytest.Entry{Lane: "0", Event: e})
}

func crm(v string) event.Identifier   { return applytest.ID(applytest.Strict, event.KindCRM, v) }
func mail(v string) event.Identifier  { return applytest.ID(applytest.Strict, event.KindEmail, v) }
func phone(v string) event.Identifier { return applytest.ID(applytest.Strict, event.KindPhone, v) }
func tab(v string) event.Identifier   { return applytest.ID(applytest.Strict, event.KindAnonymous, v) }

func limits(kind string, n int) rules {
	s := event.DefaultSettings()
	s.Limits = map[string]int{kind: n}
	return rules{Settings: s}
}

// Each kind of difference, with its causes and what was refused.
func TestKindsOfDifferences(t *testing.T) {
	usual := rules{Settings: event.DefaultSettings()}
	for name, x := range map[string]struct {
		tell         func(s *story)
		current, new rules
		want         []string
	}{
		"one customer number more makes one of two": {
			func(s *story) {
				s.event(crm("u1"), mail("e"))
				s.event(crm("u2"), tab("d"))
				s.event(crm("u2"), mail("e"))
			}, usual, limits(event.KindCRM, 2),
			[]string{"merge crm_id=u1,email=e + crm_id=u2,anonymous=d -> crm_id=u1,crm_id=u2,email=e,anonymous=d; new by m3(merge_limit crm_id)"},
		},
		"a second email does not fit": {
			func(s *story) {
				s.event(crm("u"), mail("a"))
				s.event(crm("u"), mail("b"))
				s.event(mail("b"), tab("d"))
			}, usual, limits(event.KindEmail, 1),
			[]string{"split crm_id=u,email=a,email=b,anonymous=d -> crm_id=u,email=a + email=b,anonymous=d; current by m2(link_limit email)"},
		},
		"a device would be somebody else's": {
			func(s *story) {
				s.event(mail("a"), tab("d"))
				s.event(mail("b"), tab("e"))
				s.event(mail("b"), tab("d"))
			}, usual, limits(event.KindAnonymous, 1),
			[]string{"regroup email=a + email=b,anonymous=d,anonymous=e -> email=a,anonymous=d + email=b,anonymous=e; current by m3(relink_limit anonymous); new by m1"},
		},
		"an identifier is not read any more": {
			func(s *story) { s.event(crm("u"), phone("1")) }, usual, rules{usual.Settings, event.KindPhone},
			[]string{"change crm_id=u,phone=1 -> crm_id=u; current by m1"},
		},
		"a profile that nothing else names": {
			func(s *story) {
				s.event(phone("1"))
				s.event(phone("1"))
			}, rules{usual.Settings, event.KindPhone}, usual,
			[]string{"appear -> phone=1; new by m1"},
		},
		"nothing about people": {
			func(s *story) { s.event(phone("1"), mail("a")) }, usual, limits(event.KindPhone, 9), nil,
		},
		"and the other way round": {
			func(s *story) { s.event(phone("1")) }, usual, rules{usual.Settings, event.KindPhone},
			[]string{"vanish phone=1 -> ; current by m1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s story
			x.tell(&s)
			var got []string
			for _, d := range Compare(x.current.play(s), x.new.play(s)).Differences {
				got = append(got, text(&d))
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("got  %q\nwant %q", got, x.want)
			}
		})
	}
}

// A device that came back is where it is by the message that brought it back, not by an earlier one.
func TestRelinkedDeviceIsExplainedByItsLastMove(t *testing.T) {
	var s story
	s.event(mail("a"), tab("d"))
	s.event(mail("b"), tab("d"))
	s.event(mail("a"), tab("d"))
	r := rules{Settings: event.DefaultSettings()}
	for _, j := range r.play(s).Joins {
		if j.Node == tab("d").Node && j.Message != "m3" {
			t.Errorf("joined by %s", j.Message)
		}
	}
}

// Conflicts are the same whatever the profiles go by, and each counts once.
func TestConflictsThatAppearAndGo(t *testing.T) {
	var s story
	s.event(crm("u1"), mail("e"))
	s.event(crm("u2"), mail("e"))
	s.event(crm("u1"), mail("f"))
	got := Compare(limits(event.KindEmail, 1).play(s), limits(event.KindCRM, 2).play(s)).Conflicts
	want := []ConflictChange{
		{MessageID: "m2", Reason: identity.MergeLimit, Kind: event.KindEmail, Value: "e", LimitKind: event.KindCRM},
		{MessageID: "m3", Reason: identity.LinkLimit, Kind: event.KindEmail, Value: "f", LimitKind: event.KindEmail},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	back := Compare(limits(event.KindCRM, 2).play(s), limits(event.KindEmail, 1).play(s)).Conflicts
	if len(back) != 2 || !back[0].Appears || !back[1].Appears {
		t.Errorf("%+v", back)
	}
}
