package store

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Profiles are a tenant's profiles, in no telling order; the collapsed ones too where tombstones is
// set. An error ends the sequence, here and below.
func (s *Store) Profiles(ctx context.Context, tenant uuid.UUID, tombstones bool) iter.Seq2[*ProfileRow, error] {
	var last uuid.UUID
	all := pages(s.cfg.ReadPage, func() ([]*ProfileRow, error) {
		rows, err := read(ctx, s, "profiles", scanProfile, exportProfiles, tenant, last, int64(s.cfg.ReadPage))
		if err != nil || len(rows) == 0 {
			return nil, err
		}
		last = rows[len(rows)-1].ProfileID
		return rows, s.name(ctx, tenant, rows)
	})
	grave := event.GraveID(tenant) // there is nobody in it
	return func(yield func(*ProfileRow, error) bool) {
		for p, err := range all {
			if err == nil && (p.MergedInto != nil && !tombstones || p.ProfileID == grave) {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

func scanProfile(r pgx.CollectableRow, row **ProfileRow) error {
	p := &ProfileRow{Identifiers: []NameRow{}}
	*row = p
	var attributesAt time.Time
	err := r.Scan(&p.ProfileID, &p.Kind, (*[]byte)(&p.Attributes), &p.FirstSeen, &p.LastSeen, &p.EventCount, &p.TrackCount,
		&p.PageCount, &p.IdentifyCount, &attributesAt, &p.Version, &p.CreatedAt, &p.UpdatedAt, &p.MergedInto)
	p.AttributesAt = known(attributesAt)
	return err
}

// known is nil for the time that stands for none.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// name puts the identifiers of a page of profiles into it.
func (s *Store) name(ctx context.Context, tenant uuid.UUID, page []*ProfileRow) error {
	tenants, ids := make(uuids, len(page)), make(uuids, len(page))
	byID := make(map[uuid.UUID]*ProfileRow, len(page))
	for i, p := range page {
		tenants[i], ids[i], byID[p.ProfileID] = uuidElement(tenant), uuidElement(p.ProfileID), p
	}
	type named struct {
		profile uuid.UUID
		NameRow
	}
	names, err := read(ctx, s, "identifiers", func(r pgx.CollectableRow, n *named) error {
		return r.Scan(nil, nil, &n.Kind, &n.Value, &n.profile, nil, nil, nil)
	}, identifierOfProfile, tenants, ids)
	slices.SortFunc(names, func(a, b named) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value)) })
	for _, n := range names {
		p := byID[n.profile]
		p.Identifiers = append(p.Identifiers, n.NameRow)
	}
	return err
}

// Identifiers are a tenant's identifiers, each with all its spans, the present one last.
func (s *Store) Identifiers(ctx context.Context, tenant uuid.UUID) iter.Seq2[IdentifierRow, error] {
	var last uuid.UUID
	current := pages(s.cfg.ReadPage, func() ([][]IdentifierRow, error) {
		rows, err := read(ctx, s, "identifiers", scanIdentifier, exportIdentifiers, tenant, last, int64(s.cfg.ReadPage))
		if err != nil || len(rows) == 0 {
			return nil, err
		}
		last = rows[len(rows)-1].Node
		nodes := make(uuids, len(rows))
		for i, r := range rows {
			nodes[i] = uuidElement(r.Node)
		}
		former, err := read(ctx, s, "spans", scanIdentifier, exportSpans, tenant, nodes)
		if err != nil {
			return nil, err
		}
		return spansOf(rows, former), nil
	})
	return func(yield func(IdentifierRow, error) bool) {
		for spans, err := range current {
			if err != nil {
				yield(IdentifierRow{}, err)
				return
			}
			for _, span := range spans {
				if span.Kind == nobodys {
					continue // whose it was is erased; who had it before is not
				}
				if !yield(span, nil) {
					return
				}
			}
		}
	}
}

func spansOf(current, former []IdentifierRow) [][]IdentifierRow {
	byNode := map[uuid.UUID][]IdentifierRow{}
	for _, f := range former {
		byNode[f.Node] = append(byNode[f.Node], f)
	}
	all := make([][]IdentifierRow, len(current))
	for i, c := range current {
		c.Current = true
		all[i] = append(byNode[c.Node], c)
	}
	return all
}

func scanIdentifier(r pgx.CollectableRow, i *IdentifierRow) error {
	var from time.Time
	err := r.Scan(&i.Node, &i.Kind, &i.Value, &i.ProfileID, &from, &i.Version)
	i.ValidFrom = known(from)
	return err
}

// Merges are a tenant's collapses and merges, those taken back included.
func (s *Store) Merges(ctx context.Context, tenant uuid.UUID) iter.Seq2[MergeRow, error] {
	var last uuid.UUID
	return pages(s.cfg.ReadPage, func() ([]MergeRow, error) {
		return read(ctx, s, "merges", func(r pgx.CollectableRow, m *MergeRow) error {
			var body []byte
			if err := r.Scan(&last, &body, &m.UndoneAt); err != nil {
				return err
			}
			return json.Unmarshal(body, &m.Merge)
		}, exportMerges, tenant, last, int64(s.cfg.ReadPage))
	})
}

// Lineage is every change of a tenant's attributes, by profile, oldest first.
func (s *Store) Lineage(ctx context.Context, tenant uuid.UUID) iter.Seq2[LineageRow, error] {
	var last uuid.UUID
	var version int64
	versions := pages(s.cfg.ReadPage, func() ([][]LineageRow, error) {
		return read(ctx, s, "lineage", func(r pgx.CollectableRow, rows *[]LineageRow) error {
			var text []byte
			if err := r.Scan(&last, &version, &text); err != nil {
				return err
			}
			var changes []event.AttributeChange
			if err := json.Unmarshal(text, &changes); err != nil {
				return err
			}
			for _, c := range changes {
				*rows = append(*rows, LineageRow{ProfileID: last, AttributeChange: c})
			}
			return nil
		}, exportLineage, tenant, last, version, int64(s.cfg.ReadPage))
	})
	return func(yield func(LineageRow, error) bool) {
		for rows, err := range versions {
			if err != nil {
				yield(LineageRow{}, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// Orders are a tenant's orders.
func (s *Store) Orders(ctx context.Context, tenant uuid.UUID) iter.Seq2[OrderRow, error] {
	var last uuid.UUID
	return pages(s.cfg.ReadPage, func() ([]OrderRow, error) {
		return read(ctx, s, "orders", func(r pgx.CollectableRow, o *OrderRow) error {
			return scanOrder(r, &last, o)
		}, exportOrders, tenant, last, int64(s.cfg.ReadPage))
	})
}

// OrdersOf are the orders of one profile, oldest first.
func (s *Store) OrdersOf(ctx context.Context, tenant, profile uuid.UUID) ([]OrderRow, error) {
	return read(ctx, s, "orders", func(r pgx.CollectableRow, o *OrderRow) error { return scanOrder(r, nil, o) }, exportOrdersOf, tenant, profile)
}

func scanOrder(r pgx.CollectableRow, key any, o *OrderRow) error {
	var items []byte
	var completed time.Time
	err := r.Scan(key, &o.OrderID, &o.ProfileID, &o.Status, &items, (*string)(&o.Total), &o.Currency, (*string)(&o.Tax),
		(*string)(&o.Shipping), (*string)(&o.Discount), &o.Coupon, &o.FirstEvent, &o.LastEvent, &completed, &o.Version)
	if err != nil {
		return err
	}
	o.CompletedAt = known(completed)
	o.Items, err = itemRows(items)
	return err
}

func itemRows(text []byte) ([]ItemRow, error) {
	var items []event.OrderItem
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, err
	}
	rows := make([]ItemRow, len(items))
	for i, x := range items {
		rows[i] = ItemRow{ProductID: x.ProductID, Quantity: json.Number(x.Quantity), Price: json.Number(x.Price), Name: x.Name, Category: x.Category}
	}
	return rows, nil
}

// Products are a tenant's products.
func (s *Store) Products(ctx context.Context, tenant uuid.UUID) iter.Seq2[ProductRow, error] {
	var last uuid.UUID
	return pages(s.cfg.ReadPage, func() ([]ProductRow, error) {
		return read(ctx, s, "products", func(r pgx.CollectableRow, p *ProductRow) error {
			return r.Scan(&last, &p.ProductID, &p.Name, (*string)(&p.Price), &p.Category, &p.Skeleton, &p.FirstSeen, &p.Version)
		}, exportProducts, tenant, last, int64(s.cfg.ReadPage))
	})
}

// Conflicts are what a tenant's events stated and was refused.
func (s *Store) Conflicts(ctx context.Context, tenant uuid.UUID) iter.Seq2[ConflictRow, error] {
	var last uuid.UUID
	return pages(s.cfg.ReadPage, func() ([]ConflictRow, error) {
		return read(ctx, s, "conflicts", func(r pgx.CollectableRow, c *ConflictRow) error {
			err := scanConflict(r, c)
			last = c.ConflictID
			return err
		}, exportConflicts, tenant, last, int64(s.cfg.ReadPage))
	})
}

func scanConflict(r pgx.CollectableRow, c *ConflictRow) error {
	var node, other uuid.UUID
	err := r.Scan(&c.ConflictID, &c.MessageID, &c.ProfileID, &c.Reason, &node, &c.Kind, &c.Value, &c.LimitKind, &other, &c.EventTime, &c.ReceivedAt)
	if node != uuid.Nil {
		c.Node = &node
	}
	if other != uuid.Nil {
		c.Other = &other
	}
	return err
}
