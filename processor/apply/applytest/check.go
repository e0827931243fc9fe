package applytest

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Check holds the state against the laws that any state must keep (spec 2.8: 2, 3, 4; 2.4), and
// against its own bookkeeping. The errors name rows by their ids.
func (s *Store) Check() error {
	var c checker
	c.profiles(s)
	c.owners(s)
	c.lineage(s)
	return errors.Join(c.errs...)
}

type checker struct{ errs []error }

func (c *checker) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checker) profiles(s *Store) {
	var events int64
	for id, p := range s.Profiles {
		events += p.EventCount
		if p.ID != id {
			c.failf("profile %s is kept as %s", p.ID, id)
		}
		if p.TrackCount+p.PageCount+p.IdentifyCount > p.EventCount {
			c.failf("profile %s: the counters by type exceed event_count", id)
		}
		if p.LastSeen.Before(p.FirstSeen) {
			c.failf("profile %s: last_seen is before first_seen", id)
		}
		if p.MergedInto != uuid.Nil {
			c.tombstone(s, p)
			continue
		}
		if p.Owned.Total() == 0 {
			c.failf("profile %s is live and owns nothing", id)
		}
		verified := p.Owned.Total() - p.Owned.Of(event.KindAnonymous)
		if (p.Kind == identity.Anchor) != (verified > 0) {
			c.failf("profile %s: a %s with %d verified identifiers", id, p.Kind, verified)
		}
		c.limits(s, p)
	}
	if events != int64(len(s.seen)) {
		c.failf("law 4: the profiles count %d events of %d", events, len(s.seen))
	}
}

func (c *checker) limits(s *Store, p identity.Profile) {
	settings := event.DefaultSettings()
	if own := s.Settings[p.Tenant]; own != nil {
		settings = *own
	}
	for _, n := range p.Owned {
		if n.N > settings.Limit(n.Kind) {
			c.failf("profile %s owns %d %s, the limit is %d", p.ID, n.N, n.Kind, settings.Limit(n.Kind))
		}
	}
}

func (c *checker) tombstone(s *Store, p identity.Profile) {
	if w, ok := s.Profiles[p.MergedInto]; !ok || w.MergedInto != uuid.Nil {
		c.failf("tombstone %s does not point at a live profile", p.ID)
	}
	if p.EventCount+p.TrackCount+p.PageCount+p.IdentifyCount != 0 || string(p.Attributes.Text()) != "{}" ||
		p.Owned.Total()+p.Spans+p.Orders != 0 || !p.AttributesAt.IsZero() {
		c.failf("tombstone %s kept something", p.ID)
	}
}

// owners: law 3, and the counts of what each profile owns.
func (c *checker) owners(s *Store) {
	owned := map[uuid.UUID]identity.Counts{}
	spans, orders := map[uuid.UUID]int{}, map[uuid.UUID]int{}
	live := func(what string, profile uuid.UUID) {
		if p, ok := s.Profiles[profile]; !ok || p.MergedInto != uuid.Nil {
			c.failf("law 3: %s belongs to %s, which is no live profile", what, profile)
		}
	}
	for node, i := range s.Identifiers {
		live("identifier "+node.String(), i.ProfileID)
		n := owned[i.ProfileID]
		n.Add(i.Kind, 1)
		owned[i.ProfileID] = n
	}
	for key, x := range s.Spans {
		live("span of "+key.Node.String(), x.ProfileID)
		spans[x.ProfileID]++
		if i := s.Identifiers[key.Node]; !key.From.Before(i.ValidFrom) {
			c.failf("identifier %s: a closed span starts after the present one", key.Node)
		}
	}
	for _, o := range s.Orders {
		live("an order", o.ProfileID)
		orders[o.ProfileID]++
	}
	for id, p := range s.Profiles {
		if p.Owned.String() != owned[id].String() || p.Spans != spans[id] || p.Orders != orders[id] {
			c.failf("profile %s: says it owns (%s, %d spans, %d orders), owns (%s, %d, %d)",
				id, p.Owned, p.Spans, p.Orders, owned[id], spans[id], orders[id])
		}
	}
}

// lineage: law 2.
func (c *checker) lineage(s *Store) {
	changes := map[uuid.UUID][]attribute.Change{}
	version := map[uuid.UUID]int64{}
	for _, l := range s.Lineage {
		if l.Version <= version[l.ProfileID] {
			c.failf("profile %s: lineage of version %d comes after that of %d", l.ProfileID, l.Version, version[l.ProfileID])
		}
		version[l.ProfileID] = l.Version
		for n, x := range l.Changes {
			if x.Index != n || x.Version != l.Version {
				c.failf("profile %s version %d: change %d is numbered %d, %d", l.ProfileID, l.Version, n, x.Version, x.Index)
			}
			changes[l.ProfileID] = append(changes[l.ProfileID], attribute.Change{Path: x.Path, Op: attribute.Op(x.Op), Old: x.Old, New: x.New})
		}
	}
	for id, p := range s.Profiles {
		if p.MergedInto != uuid.Nil {
			continue
		}
		folded, err := attribute.Fold(changes[id])
		if err != nil {
			c.failf("law 2: profile %s: %w", id, err)
		} else if string(folded.Text()) != string(p.Attributes.Text()) {
			c.failf("law 2: profile %s: its lineage folds to other attributes", id)
		}
	}
}
