package apply

import (
	"cmp"
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Changes is the result as the column store gets it: one record for each profile concerned, sorted
// by tenant and profile. An identifier, span or order is told by its present owner's record, a merge
// by its winner's, a product by that of the profile whose event changed it.
func (r *Result) Changes() []event.Change {
	b := book{at: make(map[uuid.UUID]int, len(r.Profiles)), changes: make([]event.Change, 0, len(r.Profiles))}
	for _, p := range r.Profiles {
		state := p.State()
		b.of(p.Tenant, p.ID).Profile = &state
	}
	for _, i := range r.Identifiers {
		c := b.of(i.Tenant, i.ProfileID)
		c.Identifiers = append(c.Identifiers, i.State())
	}
	for _, s := range r.Spans {
		c := b.of(s.Tenant, s.ProfileID)
		c.Identifiers = append(c.Identifiers, s.State())
	}
	for _, m := range r.Merges {
		c := b.of(m.Tenant, m.WinnerID)
		c.Merges = append(c.Merges, m.Merge)
	}
	for _, l := range r.Lineage {
		c := b.of(l.Tenant, l.ProfileID)
		c.Lineage = append(c.Lineage, l.Changes...)
	}
	for _, o := range r.Orders {
		c := b.of(o.Tenant, o.ProfileID)
		c.Orders = append(c.Orders, *o.OrderState)
	}
	for _, p := range r.Products {
		c := b.of(p.Tenant, p.NamedBy)
		c.Products = append(c.Products, *p.ProductState)
	}
	slices.SortFunc(b.changes, func(a, b event.Change) int {
		return cmp.Or(identity.CompareIDs(a.TenantID, b.TenantID), identity.CompareIDs(a.ProfileID, b.ProfileID))
	})
	return b.changes
}

// book finds the record of a profile.
type book struct {
	changes []event.Change
	at      map[uuid.UUID]int
}

// of is valid until the next call.
func (b *book) of(tenant, profile uuid.UUID) *event.Change {
	n, ok := b.at[profile]
	if !ok {
		n = len(b.changes)
		b.at[profile] = n
		b.changes = append(b.changes, event.Change{TenantID: tenant, ProfileID: profile})
	}
	return &b.changes[n]
}
