package applytest

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Unmerge is one transaction that takes a merge back, as processor/store does with SQL.
func (s *Store) Unmerge(merge uuid.UUID, at time.Time) (*apply.Unmerged, error) {
	u, err := s.undo(merge)
	if err != nil {
		return nil, err
	}
	r, err := apply.Unmerge(u, at)
	if err != nil {
		return nil, err
	}
	s.Undone[merge] = true
	for _, later := range r.Later {
		s.Merges[s.merge(later.MergeID)].Merge = later
	}
	for _, id := range r.Followers {
		p := s.Profiles[id]
		p.MergedInto = u.Loser.ID
		s.Profiles[id] = p
	}
	const lane = "unmerge"
	err = s.save(lane, &r.Result)
	delete(s.created, lane) // creates nothing
	return r, err
}

// merge is the index of a merge.
func (s *Store) merge(id uuid.UUID) int {
	return slices.IndexFunc(s.Merges, func(m apply.Merge) bool { return m.MergeID == id })
}

// InForce are the merges that were not taken back.
func (s *Store) InForce() (all []apply.Merge) {
	for _, m := range s.Merges {
		if !s.Undone[m.MergeID] {
			all = append(all, m)
		}
	}
	return all
}

func (s *Store) undo(id uuid.UUID) (*apply.Undo, error) {
	n := s.merge(id)
	if n < 0 || s.Undone[id] {
		return nil, fmt.Errorf("merge %s is not there or undone", id)
	}
	l := loader{Store: s, st: &apply.State{Profiles: map[uuid.UUID]*identity.Profile{}}}
	profile := func(id uuid.UUID) *identity.Profile {
		l.profile(id)
		return l.st.Profiles[id]
	}
	u := &apply.Undo{Merge: s.Merges[n].Merge, Passed: map[uuid.UUID]*identity.Profile{}, Went: map[uuid.UUID]uuid.UUID{},
		Identifiers: map[uuid.UUID]*identity.Identifier{}, Orders: map[string]*event.OrderState{},
		Lineage: map[uuid.UUID][]event.AttributeChange{}}
	u.Loser = profile(u.Merge.LoserID)
	u.Live = profile(u.Loser.MergedInto)
	into := map[uuid.UUID]event.Merge{}
	for _, m := range s.InForce() {
		if s.Profiles[m.LoserID].MergedInto == u.Live.ID {
			u.Went[m.LoserID], into[m.LoserID] = m.WinnerID, m.Merge
		}
	}
	way, ok := apply.Way(u.Went, u.Merge.WinnerID, u.Live.ID)
	if !ok {
		return nil, fmt.Errorf("merge %s: the way to the live profile is broken", id)
	}
	for _, tombstone := range way {
		u.Later = append(u.Later, into[tombstone])
		u.Passed[tombstone] = profile(tombstone)
	}
	for _, moved := range u.Merge.MovedIdentifiers {
		i := s.Identifiers[moved.Node]
		u.Identifiers[moved.Node] = &i
		for _, x := range s.Spans {
			if x.Node == moved.Node && !slices.ContainsFunc(u.Spans, func(y *identity.Span) bool {
				return y.Node == x.Node && y.ValidFrom.Equal(x.ValidFrom)
			}) {
				u.Spans = append(u.Spans, &x)
			}
		}
	}
	for _, id := range u.Merge.MovedOrders {
		o := s.Orders[apply.OrderKey{Tenant: u.Live.Tenant, ID: id}]
		u.Orders[id] = &o
	}
	for _, m := range append([]event.Merge{u.Merge}, u.Later...) {
		for _, x := range s.Lineage {
			if x.ProfileID == m.WinnerID && x.Version > m.Winner.Version {
				u.Lineage[m.WinnerID] = append(u.Lineage[m.WinnerID], x.Changes...)
			}
		}
	}
	return u, nil
}
