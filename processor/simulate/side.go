package simulate

import (
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// side is the log under one side's rules. It belongs to one goroutine.
type side struct {
	replay    *apply.Replay
	conflicts []identity.Conflict
	joins     []Join
	left      map[uuid.UUID]int // of a relinked device: joins before this one are over
	counts    Totals            // of what a replay does not keep

	before []uuid.UUID // scratch: owners
}

func newSide() *side { return &side{replay: apply.NewReplay(), left: map[uuid.UUID]int{}} }

// read tells whether this side's rules make an event of a record.
func (s *side) read(d *consume.Decoder, x *record, settings *event.Settings, to *apply.Event) bool {
	_, reason, err := d.Decode(x.Record, &x.meta, settings, to)
	if err == nil {
		return true
	}
	if reason == consume.ReasonNoIdentifier {
		s.counts.NamesNobody++
	} else {
		s.counts.Invalid++
	}
	return false
}

func (s *side) apply(lane string, settings *event.Settings, e *apply.Event) {
	s.before = s.before[:0]
	for id := range each(&e.IDs) {
		s.before = append(s.before, s.owner(id.Node))
	}
	step := s.replay.Apply(lane, settings, e)
	s.counts.Events++
	s.counts.Merges += len(step.Merges)
	s.conflicts = append(s.conflicts, step.Conflicts...)
	for _, m := range step.Merges {
		for _, i := range m.MovedIdentifiers {
			s.joins = append(s.joins, Join{Message: m.Cause, Node: i.Node, With: m.WinnerID})
		}
	}
	n := 0
	for id := range each(&e.IDs) {
		before, after := s.before[n], s.owner(id.Node)
		n++
		switch {
		case after == uuid.Nil: // refused
		case before == uuid.Nil:
			s.joins = append(s.joins, Join{Message: e.MessageID, Node: id.Node, With: step.Profile.ID})
		case before != after && s.replay.Profiles()[before].MergedInto == uuid.Nil:
			s.counts.Relinks++
			s.left[id.Node] = len(s.joins)
			s.joins = append(s.joins, Join{Message: e.MessageID, Node: id.Node, With: step.Profile.ID})
		}
	}
}

func (s *side) owner(node uuid.UUID) uuid.UUID {
	if i := s.replay.Identifiers()[node]; i != nil {
		return i.ProfileID
	}
	return uuid.Nil
}

// each goes through all identifiers of an event.
func each(ids *event.Identifiers) func(yield func(*event.Identifier) bool) {
	return func(yield func(*event.Identifier) bool) {
		for _, list := range [...][]event.Identifier{ids.Anonymous, ids.Verified} {
			for n := range list {
				if !yield(&list[n]) {
					return
				}
			}
		}
	}
}

// outcome is the state after the last event.
func (s *side) outcome() *Outcome {
	o := NewOutcome()
	for id, p := range s.replay.Profiles() {
		if p.MergedInto == uuid.Nil {
			o.Profiles[id] = &Profile{ID: id, Kind: string(p.Kind), Events: p.EventCount}
		}
	}
	for node, i := range s.replay.Identifiers() {
		o.Own(i.ProfileID, Identifier{Node: node, Kind: i.Kind, Value: i.Value})
	}
	o.Conflicts = s.conflicts
	for n, j := range s.joins {
		if n >= s.left[j.Node] && o.Owners[j.Node] == o.Owners[j.With] {
			o.Joins = append(o.Joins, j)
		}
	}
	o.sort()
	return o
}

func (s *side) totals(o *Outcome) Totals {
	t := s.counts
	t.Identifiers = len(o.Owners)
	for _, p := range o.Profiles {
		t.Profiles++
		if p.Kind == string(identity.Anchor) {
			t.Anchors++
		} else {
			t.Shadows++
		}
	}
	t.Conflicts = map[identity.Reason]int{}
	for _, c := range o.Conflicts {
		t.Conflicts[c.Reason]++
	}
	return t
}
