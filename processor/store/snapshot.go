package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var offsetReset = sql.Statement("offset_reset")

// Snapshot is all that a tenant has, told as changes: who takes them in, and nothing else, has what the
// column store has of the tenant once it has taken in every change. Pages are separate transactions, so
// it is of one moment only while nothing is processed.
func (s *Store) Snapshot(ctx context.Context, tenant uuid.UUID) iter.Seq2[event.Change, error] {
	return func(yield func(event.Change, error) bool) {
		_ = tell(s.snapshotProfiles(ctx, tenant), yield, func(p *ProfileRow) event.Change {
			state := p.state()
			return event.Change{ProfileID: p.ProfileID, Profile: &state}
		}, tenant) &&
			tell(s.Identifiers(ctx, tenant), yield, func(i IdentifierRow) event.Change {
				return event.Change{ProfileID: i.ProfileID, Identifiers: []event.IdentifierState{{Node: i.Node, Kind: i.Kind, Value: i.Value,
					ProfileID: i.ProfileID, ValidFrom: since(i.ValidFrom), Version: i.Version}}}
			}, tenant) &&
			tell(s.Merges(ctx, tenant), yield, func(m MergeRow) event.Change {
				return event.Change{ProfileID: m.WinnerID, Merges: []event.Merge{m.Merge}}
			}, tenant) &&
			tell(s.Lineage(ctx, tenant), yield, func(l LineageRow) event.Change {
				return event.Change{ProfileID: l.ProfileID, Lineage: []event.AttributeChange{l.AttributeChange}}
			}, tenant) &&
			tell(s.Orders(ctx, tenant), yield, func(o OrderRow) event.Change {
				return event.Change{ProfileID: o.ProfileID, Orders: []event.OrderState{o.state()}}
			}, tenant) &&
			tell(s.Products(ctx, tenant), yield, func(p ProductRow) event.Change {
				return event.Change{Products: []event.ProductState{{ProductID: p.ProductID, Name: p.Name, Price: string(p.Price),
					Category: p.Category, Skeleton: p.Skeleton, FirstSeen: p.FirstSeen, Version: p.Version}}}
			}, tenant)
	}
}

// tell passes rows on as a tenant's changes. It answers false where the sequence has ended.
func tell[T any](rows iter.Seq2[T, error], yield func(event.Change, error) bool, change func(T) event.Change, tenant uuid.UUID) bool {
	for row, err := range rows {
		if err != nil {
			yield(event.Change{}, err)
			return false
		}
		c := change(row)
		c.TenantID = tenant
		if !yield(c, nil) {
			return false
		}
	}
	return true
}

// snapshotProfiles are the profiles without their identifiers' names, tombstones included.
func (s *Store) snapshotProfiles(ctx context.Context, tenant uuid.UUID) iter.Seq2[*ProfileRow, error] {
	var last uuid.UUID
	return pages(s.cfg.ReadPage, func() ([]*ProfileRow, error) {
		rows, err := read(ctx, s, "profiles", scanProfile, exportProfiles, tenant, last, int64(s.cfg.ReadPage))
		if len(rows) > 0 {
			last = rows[len(rows)-1].ProfileID
		}
		return rows, err
	})
}

// since is the opposite of known.
func since(at *time.Time) (t time.Time) {
	if at != nil {
		t = *at
	}
	return t
}

func (p *ProfileRow) state() event.ProfileState {
	state := event.ProfileState{Kind: p.Kind, Attributes: p.Attributes, FirstSeen: p.FirstSeen, LastSeen: p.LastSeen, EventCount: p.EventCount,
		TrackCount: p.TrackCount, PageCount: p.PageCount, IdentifyCount: p.IdentifyCount, AttributesAt: since(p.AttributesAt),
		Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt}
	if p.MergedInto != nil {
		state.MergedInto = *p.MergedInto
	}
	return state
}

func (o *OrderRow) state() event.OrderState {
	items := make([]event.OrderItem, len(o.Items))
	for i, x := range o.Items {
		items[i] = event.OrderItem{ProductID: x.ProductID, Quantity: string(x.Quantity), Price: string(x.Price), Name: x.Name, Category: x.Category}
	}
	return event.OrderState{OrderID: o.OrderID, ProfileID: o.ProfileID, Status: o.Status, Items: items, Total: string(o.Total), Currency: o.Currency,
		Tax: string(o.Tax), Shipping: string(o.Shipping), Discount: string(o.Discount), Coupon: o.Coupon, FirstEvent: o.FirstEvent,
		LastEvent: o.LastEvent, CompletedAt: since(o.CompletedAt), Version: o.Version}
}

// ResetOffset sets a partition's row from one offset to another: its log is not the one it was. Nobody
// may be processing; whoever is, is fenced off. owner is for people who look.
func (s *Store) ResetOffset(ctx context.Context, topic string, partition int32, from, to int64, owner string) error {
	tag, err := s.pool.Exec(ctx, offsetReset, topic, partition, from, to, owner)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("it is not at %d any more", from)
	}
	if err != nil {
		return fmt.Errorf("reset the offset row of %s/%d: %w", topic, partition, err)
	}
	return nil
}
