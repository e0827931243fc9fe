package applytest

import (
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/model"
)

// ModelEvent is an event as the model takes it.
func ModelEvent(lane string, e *apply.Event) model.Event {
	return model.Event{Lane: lane, Tenant: e.Tenant, MessageID: e.MessageID, Type: e.Type, Name: e.Name, IDs: e.IDs,
		Payload: e.Payload, Traits: e.Traits, GroupID: e.GroupID, At: e.At, ReceivedAt: e.ReceivedAt}
}

// Model is the state in the terms of the model, to be held against one.
func (s *Store) Model() *model.Model {
	m := model.New(nil)
	for id, p := range s.Profiles {
		m.Profiles[id] = profile(p.Tenant, id, p.State())
	}
	for node, i := range s.Identifiers {
		m.Identifiers[node] = &model.Identifier{Tenant: i.Tenant, Node: node, Kind: i.Kind, Value: i.Value,
			Spans: []model.Span{{From: i.ValidFrom, Profile: i.ProfileID, Version: i.Version}}}
	}
	for _, x := range s.Spans {
		i := m.Identifiers[x.Node]
		i.Spans = append(i.Spans, model.Span{From: x.ValidFrom, Profile: x.ProfileID, Version: x.Version})
	}
	for _, i := range m.Identifiers {
		slices.SortFunc(i.Spans, func(a, b model.Span) int { return a.From.Compare(b.From) })
	}
	for key, o := range s.Orders {
		m.Orders[model.OrderKey(key)] = order(key.Tenant, &o)
	}
	for key, p := range s.Products {
		m.Products[model.OrderKey(key)] = &model.Product{Tenant: key.Tenant, ID: p.ProductID, Name: p.Name,
			Price: model.Amount(p.Price), Category: p.Category, FirstSeen: p.FirstSeen, Version: p.Version}
	}
	for _, x := range s.Merges {
		m.Merges = append(m.Merges, merge(x))
	}
	for _, c := range s.Conflicts {
		m.Conflicts = append(m.Conflicts, model.Conflict{Tenant: c.Tenant, MessageID: c.MessageID, Profile: c.ProfileID,
			Reason: string(c.Reason), Node: c.Node, LimitKind: c.LimitKind, Other: c.Other})
	}
	for _, l := range s.Lineage {
		for _, c := range l.Changes {
			m.Lineage = append(m.Lineage, change(l, c))
		}
	}
	return m
}

func profile(tenant, id uuid.UUID, p event.ProfileState) *model.Profile {
	attributes, _ := model.Decode(p.Attributes).(map[string]any)
	return &model.Profile{Tenant: tenant, ID: id, Kind: p.Kind, Attributes: attributes,
		FirstSeen: p.FirstSeen, LastSeen: p.LastSeen,
		EventCount: p.EventCount, TrackCount: p.TrackCount, PageCount: p.PageCount, IdentifyCount: p.IdentifyCount,
		AttributesAt: p.AttributesAt, Version: p.Version, CreatedAt: p.CreatedAt, MergedInto: p.MergedInto}
}

func merge(x apply.Merge) model.Merge {
	m := model.Merge{Tenant: x.Tenant, Winner: x.WinnerID, Loser: x.LoserID, Cause: x.Cause, Kind: x.Kind,
		WinnerBefore: *profile(x.Tenant, x.WinnerID, x.Winner), LoserBefore: *profile(x.Tenant, x.LoserID, x.Loser)}
	for _, i := range x.MovedIdentifiers {
		m.Identifiers = append(m.Identifiers, i.Node)
	}
	m.Orders = append(m.Orders, x.MovedOrders...)
	return m
}

func change(l apply.Lineage, c event.AttributeChange) model.Change {
	x := model.Change{Tenant: l.Tenant, Profile: l.ProfileID, Version: c.Version, Path: c.Path, Op: c.Op,
		Old: model.Absent, New: model.Absent, Cause: c.Cause, Kind: c.CauseKind, At: c.EventTime}
	if c.Old != nil {
		x.Old = model.Decode(c.Old)
	}
	if c.New != nil {
		x.New = model.Decode(c.New)
	}
	if x.Old != model.Absent && x.New != model.Absent {
		x.Op = "change" // the model leaves it at that: see model.Change
	}
	return x
}

func order(tenant uuid.UUID, o *event.OrderState) *model.Order {
	m := &model.Order{Tenant: tenant, ID: o.OrderID, Profile: o.ProfileID, Status: o.Status,
		Total: model.Amount(o.Total), Currency: o.Currency, Tax: model.Amount(o.Tax), Shipping: model.Amount(o.Shipping),
		Discount: model.Amount(o.Discount), Coupon: o.Coupon,
		First: o.FirstEvent, Last: o.LastEvent, CompletedAt: o.CompletedAt, Version: o.Version}
	for _, i := range o.Items {
		m.Items = append(m.Items, model.Item{Product: i.ProductID, Quantity: model.Amount(i.Quantity),
			Price: model.Amount(i.Price), Name: i.Name, Category: i.Category})
	}
	return m
}
