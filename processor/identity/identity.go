// Package identity decides whom an event belongs to: it resolves identifiers to profiles, links,
// relinks, collapses and merges them, and refuses what would exceed a limit (spec 2.1 to 2.5).
//
// It is pure: no I/O, no clock, and no result depends on the order of a map. It knows nothing of
// attributes, orders and counters; what a merge means for them is processor/apply's business, which
// gets told of every merge.
package identity

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
)

// Kind is what is known about a profile's owner.
type Kind string

// The kinds (spec 2.2). A shadow never turns into an anchor: it collapses into one.
const (
	Shadow Kind = "shadow" // known by anonymous identifiers only
	Anchor Kind = "anchor" // has a verified identifier
)

// Profile is one person, or one device nobody has logged in on yet. A tombstone (MergedInto set)
// has given everything to the winner: its counters are zero and its attributes are {}.
type Profile struct {
	Tenant uuid.UUID
	ID     uuid.UUID // the node id of the identifier that created it
	Kind   Kind

	Attributes attribute.Document

	FirstSeen     time.Time // earliest event time
	LastSeen      time.Time // latest event time
	EventCount    int64
	TrackCount    int64
	PageCount     int64
	IdentifyCount int64
	AttributesAt  time.Time // latest event time of an accepted identify; zero: none yet

	Version    int64 // +1 per event applied and per merge
	CreatedAt  time.Time
	UpdatedAt  time.Time
	MergedInto uuid.UUID // uuid.Nil while live

	// What the profile owns in the store, loaded or not. A merge needs all of the loser's at hand,
	// and limits are checked against Owned alone.
	Owned  Counts // identifiers
	Spans  int    // closed spans
	Orders int

	Revision int64 // of the store's row; 0: it has none yet

	identifiers *Identifier // those loaded, linked by next and prev
	past        *Span       // those loaded, linked by next
	touched     bool
	unloaded    int // how much of what it owns was not loaded
}

// Touched tells whether the batch has changed the profile.
func (p *Profile) Touched() bool { return p.touched }

// Settled is the profile without what belongs to the batch it comes from.
func (p *Profile) Settled() Profile {
	q := *p
	q.Owned = slices.Clone(p.Owned)
	q.identifiers, q.past, q.touched, q.unloaded = nil, nil, false, 0
	return q
}

// State is the profile as the rest of the world sees it.
func (p *Profile) State() event.ProfileState {
	return event.ProfileState{
		Kind:          string(p.Kind),
		Attributes:    p.Attributes.Text(),
		FirstSeen:     p.FirstSeen,
		LastSeen:      p.LastSeen,
		EventCount:    p.EventCount,
		TrackCount:    p.TrackCount,
		PageCount:     p.PageCount,
		IdentifyCount: p.IdentifyCount,
		AttributesAt:  p.AttributesAt,
		Version:       p.Version,
		CreatedAt:     p.CreatedAt,
		UpdatedAt:     p.UpdatedAt,
		MergedInto:    p.MergedInto,
	}
}

// Identifier is one identifier with its present owner.
type Identifier struct {
	Tenant    uuid.UUID
	Node      uuid.UUID
	Kind      string
	Value     string
	ProfileID uuid.UUID
	ValidFrom time.Time // of the present owner; zero: since ever
	Version   int64     // +1 per change of owner

	owner   *Profile
	next    *Identifier // in the owner's list, as prev
	prev    *Identifier
	touched bool
}

// Settled is the identifier without what belongs to the batch it comes from.
func (i *Identifier) Settled() Identifier {
	j := *i
	j.owner, j.next, j.prev, j.touched = nil, nil, nil, false
	return j
}

// Span is a time, now over, in which an identifier belonged to a profile: from ValidFrom (zero:
// since ever) to the next span's. Its key is (tenant, node, valid_from).
type Span struct {
	Tenant    uuid.UUID
	Node      uuid.UUID
	Kind      string
	Value     string
	ProfileID uuid.UUID
	ValidFrom time.Time
	Version   int64

	next    *Span // in the profile's list
	touched bool
}

// State is the identifier's present span as the rest of the world sees it.
func (i *Identifier) State() event.IdentifierState {
	return event.IdentifierState{Node: i.Node, Kind: i.Kind, Value: i.Value,
		ProfileID: i.ProfileID, ValidFrom: i.ValidFrom, Version: i.Version}
}

// State is the span as the rest of the world sees it.
func (s *Span) State() event.IdentifierState {
	return event.IdentifierState{Node: s.Node, Kind: s.Kind, Value: s.Value,
		ProfileID: s.ProfileID, ValidFrom: s.ValidFrom, Version: s.Version}
}
