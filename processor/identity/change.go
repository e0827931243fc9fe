package identity

import (
	"cmp"
	"slices"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

// create makes the profile that an identifier stands for. The ids are the same, so creating it
// twice is creating the same one; but for an identifier that was somebody's who is erased.
func (g *Graph) create(id *event.Identifier, kind Kind) *Profile {
	c := g.claim
	name := id.Node
	if start := g.gone[id.Node].Start(c.ReceivedAt); !start.IsZero() {
		name = event.RebornID(id.Node, start)
	}
	if g.profiles[name] != nil {
		panic("identity: an identifier without an owner has a profile of its own")
	}
	at := c.ReceivedAt
	if next := g.LastCreatedAt.Add(time.Microsecond); at.Before(next) {
		at = next
	}
	g.LastCreatedAt = at
	p := &Profile{Tenant: c.Tenant, ID: name, Kind: kind, FirstSeen: c.At, LastSeen: c.At, CreatedAt: at}
	g.profiles[p.ID] = p
	g.Touch(p)
	g.grant(p, id)
	return p
}

// link gives an identifier without an owner to p, unless p has too many of its kind.
func (g *Graph) link(p *Profile, id *event.Identifier) {
	if g.full(p, id.Kind) {
		g.Refuse(LinkLimit, id, id.Kind, p, nil)
		return
	}
	g.grant(p, id)
}

func (g *Graph) grant(p *Profile, id *event.Identifier) {
	i := &Identifier{Tenant: p.Tenant, Node: id.Node, Kind: id.Kind, Value: id.Value, Version: 1}
	if gone, ok := g.gone[id.Node]; ok {
		i.ValidFrom, i.Version = gone.Start(g.claim.ReceivedAt), gone.Version+1
	}
	g.identifiers[id.Node] = i
	p.own(i)
	p.Owned.Add(i.Kind, 1)
	g.touchIdentifier(i)
	g.Touch(p)
}

// relink gives p a device of another anchor's, from now on: what it did before stays with former.
func (g *Graph) relink(p, former *Profile, id *event.Identifier) {
	if g.full(p, id.Kind) {
		g.Refuse(RelinkLimit, id, id.Kind, p, former)
		return
	}
	i := g.identifiers[id.Node]
	s := &Span{Tenant: i.Tenant, Node: i.Node, Kind: i.Kind, Value: i.Value,
		ValidFrom: i.ValidFrom, Version: i.Version}
	former.had(s)
	g.touchSpan(s)
	former.Spans++
	former.Owned.Add(i.Kind, -1)
	former.disown(i)
	g.Touch(former)

	// Clocks of two edges differ: a span never starts before the one it follows, nor with it, for
	// the start is part of its key.
	from := g.claim.ReceivedAt
	if next := i.ValidFrom.Add(time.Microsecond); from.Before(next) {
		from = next
	}
	i.ValidFrom = from
	i.Version++
	p.own(i)
	p.Owned.Add(i.Kind, 1)
	g.touchIdentifier(i)
	g.Touch(p)
}

// unite makes one of two profiles which id states are one, and answers it; or p, unless their
// identifiers are too many for one. An anchor wins over a shadow, the one created first otherwise.
func (g *Graph) unite(p, q *Profile, id *event.Identifier) *Profile {
	kind, reason := Merged, MergeLimit
	if p.Kind != q.Kind {
		kind, reason = Collapsed, CollapseLimit
	}
	if limit := g.excess(p, q); limit != "" {
		g.Refuse(reason, id, limit, p, q)
		return p
	}
	winner, loser := p, q
	if kind == Collapsed && p.Kind == Shadow || kind == Merged && q.before(p) {
		winner, loser = q, p
	}
	g.merge(winner, loser, kind)
	return winner
}

func (g *Graph) merge(winner, loser *Profile, kind string) {
	if loser.unloaded > 0 {
		// Nothing the batch names is among what is not loaded, so it can go on and find all that
		// is missing at once.
		g.lacking = append(g.lacking, loser)
	}
	m := Merge{Winner: winner, Loser: loser, Kind: kind}
	for i := loser.identifiers; i != nil; {
		next := i.next
		m.Moved = append(m.Moved, i.State())
		i.Version++
		winner.own(i)
		g.touchIdentifier(i)
		i = next
	}
	loser.identifiers = nil
	if loser.Spans > 0 {
		g.moveSpans(&m)
	}
	slices.SortFunc(m.Moved, func(a, b event.IdentifierState) int {
		return cmp.Or(CompareIDs(a.Node, b.Node), a.ValidFrom.Compare(b.ValidFrom))
	})
	for _, x := range loser.Owned {
		winner.Owned.Add(x.Kind, x.N)
	}
	winner.Spans += loser.Spans
	loser.Owned, loser.Spans = nil, 0
	g.Touch(winner)
	g.Touch(loser)
	g.merged(&m)
}

// moveSpans hands the loser's past to the winner: what a device did before it changed hands
// belongs to whom its former owner turned out to be.
func (g *Graph) moveSpans(m *Merge) {
	for s := m.Loser.past; s != nil; {
		next := s.next
		m.Moved = append(m.Moved, s.State())
		m.Winner.had(s)
		s.Version++
		g.touchSpan(s)
		s = next
	}
	m.Loser.past = nil
}
