package apply

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// merge brings everything but the identifiers (which the graph has moved) from loser to winner, and
// records what it takes to undo it (spec 2.5).
func (f *fold) merge(m *identity.Merge) {
	w, l := m.Winner, m.Loser
	record := event.Merge{
		MergeID: mergeID(w, l, f.event.MessageID), WinnerID: w.ID, LoserID: l.ID,
		Cause: f.event.MessageID, Kind: m.Kind, EventTime: f.event.At, MergedAt: f.processedAt,
		Winner: w.State(), Loser: l.State(),
		MovedIdentifiers: m.Moved, MovedOrders: f.moveOrders(w, l),
	}
	f.result.Merges = append(f.result.Merges, Merge{Tenant: w.Tenant, Merge: record})

	w.Version++
	w.UpdatedAt = f.processedAt
	changes, err := w.Attributes.Absorb(&l.Attributes, f.limits)
	if refused(err) {
		// The merge stands: the record keeps what the loser knew.
		f.graph.Refuse(identity.AttributeLimit, nil, "", w, l)
	} else {
		f.lineage(w, changes, causeMerge)
	}
	w.EventCount += l.EventCount
	w.TrackCount += l.TrackCount
	w.PageCount += l.PageCount
	w.IdentifyCount += l.IdentifyCount
	w.FirstSeen = earlier(w.FirstSeen, l.FirstSeen)
	w.LastSeen = later(w.LastSeen, l.LastSeen)
	w.AttributesAt = later(w.AttributesAt, l.AttributesAt)
	w.Orders += l.Orders
	f.bury(l, w)
}

// bury leaves a tombstone. It keeps only its times.
func (f *fold) bury(l, winner *identity.Profile) {
	l.Attributes = attribute.Document{}
	l.EventCount, l.TrackCount, l.PageCount, l.IdentifyCount = 0, 0, 0, 0
	l.AttributesAt = time.Time{}
	l.Orders = 0
	l.Version++
	l.UpdatedAt = f.processedAt
	l.MergedInto = winner.ID
	f.gone = append(f.gone, l)
}

// moveOrders hands the loser's orders over and answers their ids, sorted.
func (f *fold) moveOrders(w, l *identity.Profile) []string {
	ids := []string{}
	if l.Orders == 0 {
		return ids
	}
	if f.ordersOf == nil {
		f.ordersOf = make(map[uuid.UUID][]OrderKey, len(f.Orders))
		for key, o := range f.Orders {
			f.ordersOf[o.ProfileID] = append(f.ordersOf[o.ProfileID], key)
		}
	}
	for _, key := range f.ordersOf[l.ID] {
		o := f.Orders[key]
		if o.ProfileID != l.ID {
			continue // it went to somebody else since it was noted
		}
		o.ProfileID = w.ID
		o.Version++
		f.orders[key] = struct{}{}
		f.ordersOf[w.ID] = append(f.ordersOf[w.ID], key)
		ids = append(ids, key.ID)
	}
	delete(f.ordersOf, l.ID)
	slices.Sort(ids)
	return ids
}

// mergeID is the name-based UUID of winner + loser + message id: the same after a replay.
func mergeID(w, l *identity.Profile, messageID string) uuid.UUID {
	name := make([]byte, 0, 2*len(w.ID)+len(messageID))
	name = append(name, w.ID[:]...)
	name = append(name, l.ID[:]...)
	return uuid.NewSHA1(w.Tenant, append(name, messageID...))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// finish gathers what changed.
func (f *fold) finish() *Result {
	r := &f.result
	r.LastCreatedAt = f.graph.LastCreatedAt
	r.Conflicts = f.graph.Conflicts
	r.Redirects = f.redirects()
	r.Profiles = f.graph.Profiles()
	r.Identifiers = f.graph.Identifiers()
	r.Spans = f.graph.Spans()
	for _, key := range slices.SortedFunc(maps.Keys(f.orders), OrderKey.compare) {
		r.Orders = append(r.Orders, Order{key.Tenant, f.Orders[key]})
	}
	for _, key := range slices.SortedFunc(maps.Keys(f.products), ProductKey.compare) {
		r.Products = append(r.Products, Product{key.Tenant, f.Products[key], f.products[key]})
	}
	return r
}

// redirects points the batch's tombstones at live profiles. The last merge's winner is live, so
// going backwards each winner that lost later has been pointed right already.
func (f *fold) redirects() []Redirect {
	all := make([]Redirect, len(f.gone))
	for n := len(f.gone) - 1; n >= 0; n-- {
		l := f.gone[n]
		if w := f.Profiles[l.MergedInto]; w.MergedInto != uuid.Nil {
			l.MergedInto = w.MergedInto
		}
		all[n] = Redirect{l.Tenant, l.ID, l.MergedInto}
	}
	return all
}
