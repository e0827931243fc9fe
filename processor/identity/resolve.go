package identity

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Claim is what one event says about who somebody is.
type Claim struct {
	Tenant     uuid.UUID
	Settings   *event.Settings
	MessageID  string
	IDs        *event.Identifiers // not empty
	At         time.Time          // event time
	ReceivedAt time.Time
}

// Resolve says which profile an event belongs to, after having made the links, relinks and merges
// that it states (spec 2.3 to 2.5). What a limit forbids becomes a conflict.
func (g *Graph) Resolve(c *Claim) *Profile {
	g.claim, g.refused = c, 0
	first := len(g.Conflicts)
	var p *Profile
	if len(c.IDs.Verified) > 0 {
		p = g.person(c.IDs.Verified)
		for n := range c.IDs.Anonymous {
			p = g.device(p, &c.IDs.Anonymous[n])
		}
	} else {
		p = g.devices(c.IDs.Anonymous)
	}
	for n := first; n < len(g.Conflicts); n++ {
		g.Conflicts[n].ProfileID = p.ID
	}
	return p
}

// person resolves verified identifiers, in priority order, to one anchor.
func (g *Graph) person(ids []event.Identifier) *Profile {
	t := g.head(&ids[0], ids[1:], Anchor)
	if t.Kind == Shadow {
		panic("identity: a shadow owns a verified identifier")
	}
	for n := range ids[1:] {
		id := &ids[1+n]
		switch q := g.owner(id); q {
		case nil:
			g.link(t, id)
		case t:
		default:
			t = g.unite(t, q, id)
		}
	}
	return t
}

// device brings an anonymous identifier to an anchor. Two anchors are never merged because they
// used the same device: it changes hands instead.
func (g *Graph) device(t *Profile, id *event.Identifier) *Profile {
	q := g.owner(id)
	switch {
	case q == nil:
		g.link(t, id)
	case q == t:
	case q.Kind == Shadow:
		return g.unite(t, q, id)
	default:
		g.relink(t, q, id)
	}
	return t
}

// devices resolves an event that names nobody: one device, or an alias's two, of which the last is
// the one that sent it. That one decides where the event counts.
func (g *Graph) devices(ids []event.Identifier) *Profile {
	last := len(ids) - 1
	t := g.head(&ids[last], ids[:last], Shadow)
	for n := range ids[:last] {
		id := &ids[n]
		q := g.owner(id)
		switch {
		case q == nil:
			g.link(t, id)
		case q == t, q.Kind == Anchor && t.Kind == Anchor:
		default:
			t = g.unite(t, q, id)
		}
	}
	return t
}

// head resolves the identifier that decides where the event counts: to its owner, else to the
// first owner among the others, if that one has room, else to a new profile. No conflict is
// written where there is no room: the merge of the two profiles will be refused, and says it.
func (g *Graph) head(id *event.Identifier, others []event.Identifier, kind Kind) *Profile {
	if p := g.owner(id); p != nil {
		return p
	}
	for n := range others {
		if p := g.owner(&others[n]); p != nil {
			if !g.full(p, id.Kind) {
				g.grant(p, id)
				return p
			}
			break
		}
	}
	return g.create(id, kind)
}

func (g *Graph) owner(id *event.Identifier) *Profile {
	if i := g.identifiers[id.Node]; i != nil {
		return i.owner
	}
	return nil
}

// full tells that p may own no more identifiers of a kind.
func (g *Graph) full(p *Profile, kind string) bool {
	return p.Owned.Of(kind) >= g.claim.Settings.Limit(kind)
}

// excess is the kind of which p and q together would own too many, or "".
func (g *Graph) excess(p, q *Profile) string {
	for _, x := range q.Owned {
		// A kind only one of them owns does not grow: a limit lowered since must not stop it.
		if have := p.Owned.Of(x.Kind); have > 0 && have+x.N > g.claim.Settings.Limit(x.Kind) {
			return x.Kind
		}
	}
	return ""
}

// Refuse records a conflict of the event at hand.
func (g *Graph) Refuse(reason Reason, id *event.Identifier, limit string, p, other *Profile) {
	c := g.claim
	x := Conflict{
		Tenant: c.Tenant, ID: conflictID(c.Tenant, c.MessageID, g.refused), MessageID: c.MessageID,
		ProfileID: p.ID, Reason: reason, LimitKind: limit, EventTime: c.At, ReceivedAt: c.ReceivedAt,
	}
	if id != nil {
		x.Node, x.Kind, x.Value = id.Node, id.Kind, id.Value
	}
	if other != nil {
		x.Other = other.ID
	}
	g.refused++
	g.Conflicts = append(g.Conflicts, x)
}
