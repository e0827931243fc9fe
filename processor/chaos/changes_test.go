package chaos_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// columns folds keystone.changes as the sink and the column store do: a record that is not higher than
// what was taken of its source is a repetition; of what carries a version the highest is kept.
type columns struct {
	t     *testing.T
	store *applytest.Store

	taken    map[string][2]int64 // by partition of the changes and source: the highest offset and sequence
	repeated int
	merges   map[uuid.UUID]bool
	lineage  map[lineageKey]int // in store.Lineage
}

type lineageKey struct {
	profile uuid.UUID
	version int64
}

func foldChanges(t *testing.T, records map[int32][]*kgo.Record) *columns {
	t.Helper()
	f := &columns{t: t, store: applytest.NewStore(nil), taken: map[string][2]int64{}, merges: map[uuid.UUID]bool{}, lineage: map[lineageKey]int{}}
	for partition, all := range records {
		for _, r := range all {
			if f.isNew(partition, r) {
				f.record(r)
			}
		}
	}
	return f
}

func (f *columns) isNew(partition int32, r *kgo.Record) bool {
	f.t.Helper()
	h := map[string]string{}
	for _, x := range r.Headers {
		h[x.Key] = string(x.Value)
	}
	source := fmt.Sprint(partition, " ", h[event.HeaderSourceTopic], "/", h[event.HeaderSourcePartition])
	offset, err1 := strconv.ParseInt(h[event.HeaderSourceOffset], 10, 64)
	sequence, err2 := strconv.ParseInt(h[event.HeaderSequence], 10, 64)
	if err1 != nil || err2 != nil {
		f.t.Fatalf("headers of a change: %v", h)
	}
	if last, ok := f.taken[source]; ok && (offset < last[0] || offset == last[0] && sequence <= last[1]) {
		f.repeated++
		return false
	}
	f.taken[source] = [2]int64{offset, sequence}
	return true
}

func (f *columns) record(r *kgo.Record) {
	f.t.Helper()
	var c event.Change
	if err := json.Unmarshal(r.Value, &c); err != nil {
		f.t.Fatal(err)
	}
	s := f.store
	if p := c.Profile; p != nil && p.Version > s.Profiles[c.ProfileID].Version {
		f.profile(c.TenantID, c.ProfileID, p)
	}
	for _, i := range c.Identifiers {
		key := applytest.SpanKey{Node: i.Node, From: i.ValidFrom.UTC()}
		if i.Version > s.Spans[key].Version {
			s.Spans[key] = identity.Span{Tenant: c.TenantID, Node: i.Node, Kind: i.Kind, Value: i.Value, ProfileID: i.ProfileID, ValidFrom: key.From, Version: i.Version}
		}
	}
	for _, o := range c.Orders {
		key := apply.OrderKey{Tenant: c.TenantID, ID: o.OrderID}
		if o.Version > s.Orders[key].Version {
			s.Orders[key] = o
		}
	}
	for _, p := range c.Products {
		key := apply.ProductKey{Tenant: c.TenantID, ID: p.ProductID}
		if p.Version > s.Products[key].Version {
			s.Products[key] = p
		}
	}
	for _, m := range c.Merges {
		if f.merges[m.MergeID] {
			f.t.Errorf("merge %s is told twice", m.MergeID)
		}
		f.merges[m.MergeID] = true
		s.Merges = append(s.Merges, apply.Merge{Tenant: c.TenantID, Merge: m})
	}
	for _, l := range c.Lineage {
		f.change(c.TenantID, c.ProfileID, l)
	}
}

func (f *columns) profile(tenant, id uuid.UUID, p *event.ProfileState) {
	f.t.Helper()
	attributes, err := attribute.Parse(p.Attributes)
	if err != nil {
		f.t.Fatal(err)
	}
	f.store.Profiles[id] = identity.Profile{Tenant: tenant, ID: id, Kind: identity.Kind(p.Kind), Attributes: attributes,
		FirstSeen: p.FirstSeen, LastSeen: p.LastSeen, EventCount: p.EventCount, TrackCount: p.TrackCount, PageCount: p.PageCount,
		IdentifyCount: p.IdentifyCount, AttributesAt: p.AttributesAt, Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
		MergedInto: p.MergedInto}
}

func (f *columns) change(tenant, profile uuid.UUID, c event.AttributeChange) {
	f.t.Helper()
	key := lineageKey{profile, c.Version}
	at, ok := f.lineage[key]
	if !ok {
		at = len(f.store.Lineage)
		f.lineage[key] = at
		f.store.Lineage = append(f.store.Lineage, apply.Lineage{Tenant: tenant, ProfileID: profile, Version: c.Version})
	}
	l := &f.store.Lineage[at]
	if c.Index != len(l.Changes) {
		f.t.Errorf("profile %s version %d: change %d comes as the %d-th", profile, c.Version, c.Index, len(l.Changes))
	}
	l.Changes = append(l.Changes, c)
}

// visible is of a state what the column store is told: not the counts of what profiles own, not the
// conflicts; all spans of an identifier are alike; a tombstone says that it is one, but is not told
// again when its winner loses later (see docs/DESIGN.md).
func visible(s *applytest.Store) *applytest.Store {
	out := applytest.NewStore(nil)
	for id, p := range s.Profiles {
		p.Owned, p.Spans, p.Orders = nil, 0, 0
		if p.MergedInto != uuid.Nil {
			p.MergedInto = uuid.Max
		}
		out.Profiles[id] = p
	}
	for key, x := range s.Spans {
		out.Spans[key] = x
	}
	for node, i := range s.Identifiers {
		out.Spans[applytest.SpanKey{Node: node, From: i.ValidFrom}] = identity.Span{Tenant: i.Tenant, Node: node, Kind: i.Kind, Value: i.Value,
			ProfileID: i.ProfileID, ValidFrom: i.ValidFrom, Version: i.Version}
	}
	out.Orders, out.Products = s.Orders, s.Products
	out.Merges, out.Lineage = s.Merges, s.Lineage
	return out
}
