package apply

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// A profile without identifiers could never be met again: a merge that would leave one behind cannot
// be taken back.
var (
	ErrNothingReturns = errors.New("all identifiers that moved have changed hands since: none can return")
	ErrNothingStays   = errors.New("all identifiers that the winner has left would return")
)

// Undo is what it takes to take one merge back: its record, and the rows it concerns as they are now.
// Unmerge changes them in place.
type Undo struct {
	Merge event.Merge
	Loser *identity.Profile // the tombstone
	Live  *identity.Profile // where the winner's things are now: the winner, or whom it went to
	// Later are the merges by which the winner went on to Live, in their order: the first one's loser
	// is the winner, the last one's winner is Live. Empty where the winner lives.
	Later []event.Merge
	// Passed are the tombstones of Later's losers.
	Passed map[uuid.UUID]*identity.Profile
	// Went tells of each tombstone that points at Live which profile it went into directly.
	Went map[uuid.UUID]uuid.UUID

	Identifiers map[uuid.UUID]*identity.Identifier // by node: those that the merge moved
	Spans       []*identity.Span                   // the closed ones of these nodes
	Orders      map[string]*event.OrderState       // those that the merge moved, by id
	// Lineage of the winner and of Later's winners, each from the version of its merge on, oldest first.
	Lineage map[uuid.UUID][]event.AttributeChange
}

// Unmerged is what an Unmerge changed: rows as those of a batch, and what only an unmerge has.
type Unmerged struct {
	Result
	Later     []event.Merge // the records of Later, without what has now left
	Followers []uuid.UUID   // tombstones that point at the loser again, sorted
	Report    Unmerging
}

// Unmerging tells people what an unmerge did, and what it could not do.
type Unmerging struct {
	MergeID     uuid.UUID               `json:"merge_id"`
	LoserID     uuid.UUID               `json:"loser_id"`  // live again
	WinnerID    uuid.UUID               `json:"winner_id"` // of the merge
	LiveID      uuid.UUID               `json:"live_id"`   // the winner, or whom it was merged into since
	EventCount  int64                   `json:"event_count"`
	Identifiers []event.IdentifierState `json:"identifiers"`  // returned, closed spans included
	Orders      []string                `json:"orders"`       // returned
	Attributes  []string                `json:"attributes"`   // paths that the winner got by the merge and has lost
	Kept        []Kept                  `json:"kept"`         // what moved and stays
	Learned     []string                `json:"learned"`      // paths that events changed since the merge; they stay
	WiderBounds bool                    `json:"wider_bounds"` // first_seen, last_seen or attributes_at may still be the loser's
}

// Kept is one thing that a merge moved and that does not return.
type Kept struct {
	What   string `json:"what"` // identifier, order or attribute
	Name   string `json:"name"` // kind and node, order id, or path
	Reason string `json:"reason"`
}

// The reasons why something does not return.
const (
	keptRelinked = "it was relinked: only its time until then returns"
	keptMoved    = "it moved on to another profile since"
	keptChanged  = "it changed since the merge"
	keptMixed    = "a later merge united it with what another profile had"
	keptOrder    = "it belongs to another profile since"
)

const causeUnmerge = "unmerge"

// unmerger is one Unmerge.
type unmerger struct {
	*Undo
	now time.Time
	out Unmerged
}

// Unmerge takes a merge back (the reverse of spec 2.5). The loser lives again and has what its record
// says it had, but for what changed hands since. Live keeps what happened since the merge.
//
// Bounds: a minimum or maximum that the loser made cannot be split. Live's first_seen, last_seen and
// attributes_at are exact where they are not the loser's, or where nothing but the event that caused
// the merge has happened since; otherwise they stay as wide as they are.
func Unmerge(u *Undo, now time.Time) (*Unmerged, error) {
	if u.Loser.MergedInto != u.Live.ID || u.Live.MergedInto != uuid.Nil || u.Merge.LoserID != u.Loser.ID {
		return nil, fmt.Errorf("undo merge %s: its loser is not merged into a live profile", u.Merge.MergeID)
	}
	m := unmerger{Undo: u, now: now}
	m.out.Report = Unmerging{MergeID: u.Merge.MergeID, LoserID: u.Loser.ID, WinnerID: u.Merge.WinnerID, LiveID: u.Live.ID,
		EventCount: u.Merge.Loser.EventCount, Identifiers: []event.IdentifierState{}, Orders: []string{},
		Attributes: []string{}, Kept: []Kept{}, Learned: []string{}}
	m.out.Later = slices.Clone(u.Later)
	m.identifiers()
	switch {
	case m.Loser.Owned.Total() == 0:
		return nil, fmt.Errorf("undo merge %s: %w", u.Merge.MergeID, ErrNothingReturns)
	case m.Live.Owned.Total() == 0:
		return nil, fmt.Errorf("undo merge %s: %w", u.Merge.MergeID, ErrNothingStays)
	}
	m.orders()
	m.bounds()
	m.counters()
	m.revive()
	if err := m.attributes(); err != nil {
		return nil, err
	}
	m.follow()
	m.finish()
	return &m.out, nil
}

// identifiers gives back what still is Live's since the time the loser had it.
func (m *unmerger) identifiers() {
	for _, moved := range m.Merge.MovedIdentifiers {
		if i := m.Identifiers[moved.Node]; i != nil && i.ValidFrom.Equal(moved.ValidFrom) {
			if i.ProfileID != m.Live.ID {
				m.keep("identifier", moved.Kind+" "+moved.Node.String(), keptMoved)
				continue
			}
			i.ProfileID = m.Loser.ID
			i.Version++
			m.Live.Owned.Add(i.Kind, -1)
			m.Loser.Owned.Add(i.Kind, 1)
			m.out.Identifiers = append(m.out.Identifiers, i)
			m.returned(i.State())
			continue
		}
		s := m.span(moved)
		if s == nil || s.ProfileID != m.Live.ID {
			m.keep("identifier", moved.Kind+" "+moved.Node.String(), keptMoved)
			continue
		}
		// What the device did in that time is the loser's; the device itself went to somebody else.
		s.ProfileID = m.Loser.ID
		s.Version++
		m.Live.Spans--
		m.Loser.Spans++
		m.out.Spans = append(m.out.Spans, s)
		m.returned(s.State())
		m.keep("identifier", moved.Kind+" "+moved.Node.String(), keptRelinked)
	}
}

func (m *unmerger) span(of event.IdentifierState) *identity.Span {
	for _, s := range m.Spans {
		if s.Node == of.Node && s.ValidFrom.Equal(of.ValidFrom) {
			return s
		}
	}
	return nil
}

// returned notes an identifier that left Live, also in the records by which it got there.
func (m *unmerger) returned(s event.IdentifierState) {
	m.out.Report.Identifiers = append(m.out.Report.Identifiers, s)
	for n := range m.out.Later {
		later := &m.out.Later[n]
		later.MovedIdentifiers = slices.DeleteFunc(slices.Clone(later.MovedIdentifiers), func(x event.IdentifierState) bool {
			return x.Node == s.Node && x.ValidFrom.Equal(s.ValidFrom)
		})
	}
}

func (m *unmerger) keep(what, name, reason string) {
	m.out.Report.Kept = append(m.out.Report.Kept, Kept{what, name, reason})
}

func (m *unmerger) orders() {
	for _, id := range m.Merge.MovedOrders {
		o := m.Orders[id]
		if o == nil || o.ProfileID != m.Live.ID {
			m.keep("order", id, keptOrder)
			continue
		}
		o.ProfileID = m.Loser.ID
		o.Version++
		m.Live.Orders--
		m.Loser.Orders++
		m.out.Orders = append(m.out.Orders, Order{m.Loser.Tenant, o})
		m.out.Report.Orders = append(m.out.Report.Orders, id)
		for n := range m.out.Later {
			later := &m.out.Later[n]
			later.MovedOrders = slices.DeleteFunc(slices.Clone(later.MovedOrders), func(x string) bool { return x == id })
		}
	}
}

// bounds must run before counters: it tells from the version what has happened since.
func (m *unmerger) bounds() {
	p, before, loser := m.Live, &m.Merge.Winner, &m.Merge.Loser
	direct, at := p.ID == m.Merge.WinnerID, m.Merge.EventTime
	// A merge is one version, and the event that caused it, which counted for the winner, another.
	alone := direct && p.Version == before.Version+2 && !at.IsZero()
	if alone {
		p.FirstSeen, p.LastSeen = earlier(before.FirstSeen, at), later(before.LastSeen, at)
	}
	if alone && p.IdentifyCount == before.IdentifyCount+loser.IdentifyCount {
		p.AttributesAt = before.AttributesAt
	}
	for _, b := range [...]struct{ now, before, loser time.Time }{
		{p.FirstSeen, before.FirstSeen, loser.FirstSeen},
		{p.LastSeen, before.LastSeen, loser.LastSeen},
		{p.AttributesAt, before.AttributesAt, loser.AttributesAt},
	} {
		if b.now.Equal(b.loser) && (!direct || !b.now.Equal(b.before)) {
			m.out.Report.WiderBounds = true
		}
	}
}

func (m *unmerger) counters() {
	l := &m.Merge.Loser
	m.Live.EventCount -= l.EventCount
	m.Live.TrackCount -= l.TrackCount
	m.Live.PageCount -= l.PageCount
	m.Live.IdentifyCount -= l.IdentifyCount
	for n := range m.out.Later {
		// What Live got from each of them it got with the loser's.
		s := &m.out.Later[n].Loser
		s.EventCount -= l.EventCount
		s.TrackCount -= l.TrackCount
		s.PageCount -= l.PageCount
		s.IdentifyCount -= l.IdentifyCount
	}
	m.Live.Version++
	m.Live.UpdatedAt = m.now
}

// revive makes a profile of the tombstone again.
func (m *unmerger) revive() {
	p, s := m.Loser, &m.Merge.Loser
	p.FirstSeen, p.LastSeen, p.AttributesAt = s.FirstSeen, s.LastSeen, s.AttributesAt
	p.EventCount, p.TrackCount, p.PageCount, p.IdentifyCount = s.EventCount, s.TrackCount, s.PageCount, s.IdentifyCount
	p.MergedInto = uuid.Nil
	p.Version++
	p.UpdatedAt = m.now
}

// follow finds the tombstones that had gone into the loser before it went: they are its own again.
func (m *unmerger) follow() {
	for id := range m.Went {
		for at, ok := id, true; ok && at != m.Loser.ID; {
			if at, ok = m.Went[at]; ok && at == m.Loser.ID {
				m.out.Followers = append(m.out.Followers, id)
			}
		}
	}
	slices.SortFunc(m.out.Followers, identity.CompareIDs)
}

func (m *unmerger) finish() {
	r := &m.out.Result
	r.Profiles = append(r.Profiles, m.Live, m.Loser)
	slices.SortFunc(r.Profiles, func(a, b *identity.Profile) int { return identity.CompareIDs(a.ID, b.ID) })
	slices.SortFunc(r.Identifiers, func(a, b *identity.Identifier) int { return identity.CompareIDs(a.Node, b.Node) })
	slices.SortFunc(r.Spans, func(a, b *identity.Span) int {
		return cmp.Or(identity.CompareIDs(a.Node, b.Node), a.ValidFrom.Compare(b.ValidFrom))
	})
	slices.Sort(m.out.Report.Learned)
	m.out.Report.Learned = slices.Compact(m.out.Report.Learned)
}

// Way is the tombstones through which what the winner had went on to live, in their order, winner
// first; none where winner is live. went is as in Undo. False: the way is broken.
func Way(went map[uuid.UUID]uuid.UUID, winner, live uuid.UUID) ([]uuid.UUID, bool) {
	var way []uuid.UUID
	for at := winner; at != live; {
		next, ok := went[at]
		if !ok || len(way) > len(went) {
			return nil, false
		}
		way = append(way, at)
		at = next
	}
	return way, true
}

// lineage records changes as those of the profile's present version.
func (m *unmerger) lineage(p *identity.Profile, changes []attribute.Change) {
	if len(changes) == 0 {
		return
	}
	l := Lineage{Tenant: p.Tenant, ProfileID: p.ID, Version: p.Version, Changes: make([]event.AttributeChange, len(changes))}
	for i, c := range changes {
		l.Changes[i] = event.AttributeChange{
			Version: p.Version, Index: i, Path: c.Path, Op: string(c.Op), Old: c.Old, New: c.New,
			Cause: m.Merge.MergeID.String(), CauseKind: causeUnmerge, EventTime: m.now, ProcessedAt: m.now,
		}
	}
	m.out.Lineage = append(m.out.Lineage, l)
}

// paths are those of changes, sorted.
func paths(changes map[string]attribute.Change) []string { return slices.Sorted(maps.Keys(changes)) }
