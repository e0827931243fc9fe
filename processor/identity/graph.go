package identity

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Kinds of merges.
const (
	Collapsed = "collapse" // a shadow into an anchor
	Merged    = "merge"    // two anchors, or two shadows an alias names
)

// Merge is one profile taking in another. The graph has moved the loser's identifiers and closed
// spans when it says so; the rest of the two profiles is still as it was.
type Merge struct {
	Winner, Loser *Profile
	Kind          string
	Moved         []event.IdentifierState // as the loser's, sorted by node and time; closed spans included
}

// Loaded is what a batch starts from: the identifiers it names as far as they exist, their owners,
// and all that the profiles own which lose a merge (see Graph.Missing).
type Loaded struct {
	Identifiers   map[uuid.UUID]*Identifier // by node
	Profiles      map[uuid.UUID]*Profile
	Spans         []*Span
	OrderOwners   iter.Seq[uuid.UUID] // one for each loaded order
	Gone          map[uuid.UUID]Gone  // by node, of those that have any
	LastCreatedAt time.Time
}

// Gone is what is erased of an identifier's history. Where the identifier itself is not among what was
// loaded it is nobody's, and new to whom it belongs next.
type Gone struct {
	event.Erasures
	Version int64 // of the identifier's row
}

// Graph is the identifiers and profiles of one batch. It belongs to one goroutine.
type Graph struct {
	// LastCreatedAt is the created_at last given. Each is later than the one before, so that
	// "created first" is the order of the log.
	LastCreatedAt time.Time
	// Conflicts are all that was refused, in the order of the log.
	Conflicts []Conflict

	identifiers map[uuid.UUID]*Identifier
	profiles    map[uuid.UUID]*Profile
	gone        map[uuid.UUID]Gone
	merged      func(*Merge)

	claim   *Claim
	refused int // conflicts of the claim at hand

	lacking            []*Profile
	touchedProfiles    []*Profile
	touchedIdentifiers []*Identifier
	touchedSpans       []*Span
}

// New makes the graph of one batch; it takes over what l holds. merged is called once for each
// merge, while Resolve runs, and has to bring the loser's counters, attributes and orders over.
func New(l Loaded, merged func(*Merge)) *Graph {
	g := &Graph{LastCreatedAt: l.LastCreatedAt, identifiers: l.Identifiers, profiles: l.Profiles, gone: l.Gone, merged: merged}
	g.touchedProfiles = make([]*Profile, 0, len(l.Profiles)) // most batches change all of them
	for _, p := range g.profiles {
		p.unloaded = p.Owned.Total() + p.Spans + p.Orders
	}
	for _, i := range g.identifiers {
		p := g.Profile(i.ProfileID)
		p.own(i)
		p.unloaded--
	}
	for _, s := range l.Spans {
		p := g.Profile(s.ProfileID)
		p.had(s)
		p.unloaded--
	}
	for id := range l.OrderOwners {
		g.Profile(id).unloaded--
	}
	return g
}

// Profile is a loaded profile. That it is not there is a bug of whoever loaded the batch.
func (g *Graph) Profile(id uuid.UUID) *Profile {
	p := g.profiles[id]
	if p == nil {
		panic("identity: the owner of a loaded row is not loaded")
	}
	return p
}

// Touch notes that a profile changed. The graph does so itself for what it changes.
func (g *Graph) Touch(p *Profile) {
	if !p.touched {
		p.touched = true
		g.touchedProfiles = append(g.touchedProfiles, p)
	}
}

// Missing are the losers that own more than was loaded, sorted: if there are any, the merges are
// incomplete and the batch must run again with all they own.
func (g *Graph) Missing() []*Profile {
	slices.SortFunc(g.lacking, compareProfiles)
	return g.lacking
}

// Profiles are those that changed, sorted by key.
func (g *Graph) Profiles() []*Profile {
	slices.SortFunc(g.touchedProfiles, compareProfiles)
	return g.touchedProfiles
}

// Identifiers are those new or with a new owner, sorted by key.
func (g *Graph) Identifiers() []*Identifier {
	slices.SortFunc(g.touchedIdentifiers, func(a, b *Identifier) int {
		return compareKeys(a.Tenant, b.Tenant, a.Node, b.Node)
	})
	return g.touchedIdentifiers
}

// Spans are those newly closed or with a new owner, sorted by key.
func (g *Graph) Spans() []*Span {
	slices.SortFunc(g.touchedSpans, func(a, b *Span) int {
		return cmp.Or(compareKeys(a.Tenant, b.Tenant, a.Node, b.Node), a.ValidFrom.Compare(b.ValidFrom))
	})
	return g.touchedSpans
}

func compareProfiles(a, b *Profile) int {
	return compareKeys(a.Tenant, b.Tenant, a.ID, b.ID)
}

func compareKeys(tenantA, tenantB, a, b uuid.UUID) int {
	if tenantA != tenantB {
		return CompareIDs(tenantA, tenantB)
	}
	return CompareIDs(a, b)
}

// CompareIDs orders ids bytewise, which is also the order of the state stores.
func CompareIDs(a, b uuid.UUID) int {
	if x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8]); x != y {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]))
}

// own puts an identifier into the profile's list.
func (p *Profile) own(i *Identifier) {
	i.owner, i.ProfileID = p, p.ID
	if i.prev, i.next = nil, p.identifiers; i.next != nil {
		i.next.prev = i
	}
	p.identifiers = i
}

// disown takes an identifier out of the profile's list, however long that is.
func (p *Profile) disown(i *Identifier) {
	if i.prev != nil {
		i.prev.next = i.next
	} else {
		p.identifiers = i.next
	}
	if i.next != nil {
		i.next.prev = i.prev
	}
	i.prev, i.next = nil, nil
}

// had puts a closed span into the profile's list.
func (p *Profile) had(s *Span) {
	s.ProfileID = p.ID
	s.next, p.past = p.past, s
}

// before tells which of two profiles was created first.
func (p *Profile) before(q *Profile) bool {
	return cmp.Or(p.CreatedAt.Compare(q.CreatedAt), CompareIDs(p.ID, q.ID)) < 0
}

func (g *Graph) touchIdentifier(i *Identifier) {
	if !i.touched {
		i.touched = true
		g.touchedIdentifiers = append(g.touchedIdentifiers, i)
	}
}

func (g *Graph) touchSpan(s *Span) {
	if !s.touched {
		s.touched = true
		g.touchedSpans = append(g.touchedSpans, s)
	}
}
