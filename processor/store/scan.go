package store

import (
	"fmt"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Rows are scanned into one variable over and over, and copied from there: the scan targets are made
// once per statement.

func (l *rows) addIdentifiers(r pgx.Rows) error {
	var i identity.Identifier
	var erased string
	columns := identifierColumns(&i, &erased)
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		if err := l.addIdentifier(&i, erased); err != nil {
			return err
		}
	}
	return nil
}

func (l *rows) addIdentifiersAndOwners(r pgx.Rows) error {
	var i identity.Identifier
	var owner profileRow
	var erased string
	columns := append(identifierColumns(&i, &erased), owner.columns()...)
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		if err := l.addIdentifier(&i, erased); err != nil {
			return err
		}
		if i.Kind == nobodys {
			continue // the grave takes no part
		}
		if err := l.addOwner(&owner); err != nil {
			return err
		}
	}
	return nil
}

func identifierColumns(i *identity.Identifier, erased *string) []any {
	return []any{(*[16]byte)(&i.Tenant), (*[16]byte)(&i.Node), &i.Kind, &i.Value, (*[16]byte)(&i.ProfileID), &i.ValidFrom, &i.Version, erased}
}

// nobodys is the kind of an identifier that was somebody's who is erased, and nobody's since.
const nobodys = ""

// addIdentifier takes an identifier in, if it is somebody's, and what is erased of its history.
func (l *rows) addIdentifier(i *identity.Identifier, erased string) error {
	if erased != "" {
		gone := identity.Gone{Version: i.Version}
		if err := json.Unmarshal([]byte(erased), &gone.Erasures); err != nil {
			return fmt.Errorf("read what is erased of identifier %s: %w", i.Node, err)
		}
		if l.gone == nil {
			l.gone = map[uuid.UUID]identity.Gone{}
		}
		l.gone[i.Node] = gone
	}
	if i.Kind != nobodys {
		l.identifiers = append(l.identifiers, *i)
		return nil
	}
	if l.vacant == nil {
		l.vacant = map[uuid.UUID]struct{}{}
	}
	l.vacant[i.Node] = struct{}{}
	return nil
}

func (l *rows) addSpans(r pgx.Rows) error {
	var s identity.Span
	columns := []any{(*[16]byte)(&s.Tenant), (*[16]byte)(&s.Node), &s.Kind, &s.Value, (*[16]byte)(&s.ProfileID), &s.ValidFrom, &s.Version}
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		l.spans = append(l.spans, s)
	}
	return nil
}

// profileRow is a profile as its row holds it.
type profileRow struct {
	identity.Profile
	attributes []byte
	owned      string
	merged     *[16]byte
}

func (p *profileRow) columns() []any {
	return []any{(*[16]byte)(&p.Tenant), (*[16]byte)(&p.ID), (*string)(&p.Kind), &p.attributes, &p.FirstSeen, &p.LastSeen,
		&p.EventCount, &p.TrackCount, &p.PageCount, &p.IdentifyCount, &p.AttributesAt, &p.Version, &p.CreatedAt,
		&p.UpdatedAt, &p.merged, &p.owned, &p.Spans, &p.Orders, &p.Revision}
}

// addOwner takes a profile in, unless the row before had the same: that one has the attributes.
func (l *rows) addOwner(row *profileRow) error {
	if n := len(l.profiles); n > 0 && l.profiles[n-1].ID == row.ID {
		return nil
	}
	p := row.Profile
	var err error
	if row.merged != nil {
		p.MergedInto = *row.merged
	}
	if p.Attributes, err = attribute.Parse(row.attributes); err != nil {
		return fmt.Errorf("profile %s: %w", p.ID, err)
	}
	if p.Owned, err = identity.ParseCounts(row.owned); err != nil {
		return fmt.Errorf("profile %s: %w", p.ID, err)
	}
	l.profiles = append(l.profiles, p)
	return nil
}

func (l *rows) addOrders(r pgx.Rows) error {
	var o orderRow
	columns := o.columns()
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		if err := l.addOrder(&o); err != nil {
			return err
		}
	}
	return nil
}

func (l *rows) addOrdersAndOwners(r pgx.Rows) error {
	var o orderRow
	var owner profileRow
	columns := append(o.columns(), owner.columns()...)
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		if owner.merged != nil { // an erased one, whose orders are about to go: what comes is new
			l.orderAt(&o)
			continue
		}
		if err := l.addOrder(&o); err != nil {
			return err
		}
		if err := l.addOwner(&owner); err != nil {
			return err
		}
	}
	return nil
}

// orderRow is an order as its row holds it.
type orderRow struct {
	order
	items []byte
}

func (o *orderRow) columns() []any {
	return []any{(*[16]byte)(&o.tenant), &o.OrderID, (*[16]byte)(&o.ProfileID), &o.Status, &o.items, &o.Total, &o.Currency,
		&o.Tax, &o.Shipping, &o.Discount, &o.Coupon, &o.FirstEvent, &o.LastEvent, &o.CompletedAt, &o.Version, &o.revision}
}

func (l *rows) addOrder(row *orderRow) error {
	o := row.order
	if err := json.Unmarshal(row.items, &o.Items); err != nil {
		return fmt.Errorf("read an order's items: %w", err)
	}
	l.orders = append(l.orders, o)
	l.orderAt(row)
	return nil
}

// orderAt notes the revision of an order's row.
func (l *rows) orderAt(row *orderRow) {
	if l.orderRevisions == nil {
		l.orderRevisions = map[apply.OrderKey]int64{}
	}
	l.orderRevisions[apply.OrderKey{Tenant: row.tenant, ID: row.OrderID}] = row.revision
}

func (l *rows) addProducts(r pgx.Rows) error {
	var p product
	columns := []any{(*[16]byte)(&p.tenant), &p.ProductID, &p.Name, &p.Price, &p.Category, &p.Skeleton, &p.FirstSeen, &p.Version, &p.revision}
	for r.Next() {
		if err := r.Scan(columns...); err != nil {
			return err
		}
		l.addProduct(p)
	}
	return nil
}

func (l *rows) addProduct(p product) {
	l.products = append(l.products, p)
	if l.productRevisions == nil {
		l.productRevisions = map[apply.ProductKey]int64{}
	}
	l.productRevisions[apply.ProductKey{Tenant: p.tenant, ID: p.ProductID}] = p.revision
}
