package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	seenInsert          = sql.Statement("seen_insert")
	identifierLoad      = sql.Statement("identifier_load")
	orderLoad           = sql.Statement("order_load")
	productLoad         = sql.Statement("product_load")
	identifierOfProfile = sql.Statement("identifier_of_profile")
	spanOfProfile       = sql.Statement("span_of_profile")
	orderOfProfile      = sql.Statement("order_of_profile")
)

// rows is what one attempt has loaded. They stay as they came: the fold works on copies, so that it
// can start again when it lacks something.
type rows struct {
	keys          apply.Keys
	identifiers   []identity.Identifier
	spans         []identity.Span
	profiles      []identity.Profile
	orders        []order
	products      []product
	lastCreatedAt time.Time
}

type order struct {
	tenant uuid.UUID
	event.OrderState
}

type product struct {
	tenant uuid.UUID
	event.ProductState
}

// state is a fresh working set.
func (l *rows) state(settings map[uuid.UUID]*event.Settings) *apply.State {
	st := &apply.State{
		Settings:      settings,
		Identifiers:   make(map[uuid.UUID]*identity.Identifier, len(l.keys.Nodes)),
		Profiles:      make(map[uuid.UUID]*identity.Profile, len(l.keys.Nodes)),
		Orders:        make(map[apply.OrderKey]*event.OrderState, len(l.keys.Orders)),
		Products:      make(map[apply.ProductKey]*event.ProductState, len(l.keys.Products)),
		LastCreatedAt: l.lastCreatedAt,
	}
	identifiers, profiles := slices.Clone(l.identifiers), slices.Clone(l.profiles)
	for i := range identifiers {
		st.Identifiers[identifiers[i].Node] = &identifiers[i]
	}
	for i := range profiles {
		profiles[i].Owned = slices.Clone(profiles[i].Owned)
		st.Profiles[profiles[i].ID] = &profiles[i]
	}
	spans, orders, products := slices.Clone(l.spans), slices.Clone(l.orders), slices.Clone(l.products)
	for i := range spans {
		st.Spans = append(st.Spans, &spans[i])
	}
	for i := range orders {
		o := &orders[i]
		o.Items = slices.Clone(o.Items)
		st.Orders[apply.OrderKey{Tenant: o.tenant, ID: o.OrderID}] = &o.OrderState
	}
	for i := range products {
		p := &products[i]
		st.Products[apply.ProductKey{Tenant: p.tenant, ID: p.ProductID}] = &p.ProductState
	}
	return st
}

// open is the first round trip: fence, message ids, and all that the batch names. It answers which
// message ids are new.
func (s *Store) open(ctx context.Context, tx *Tx, b *Batch, p *prepared, l *rows, now time.Time) (map[uuid.UUID]struct{}, error) {
	fresh := make(map[uuid.UUID]struct{}, len(p.distinct))
	batch := tx.Batch()
	fence(b, batch, &l.lastCreatedAt)
	if len(p.distinct) > 0 {
		tenants, hashes := make(uuids, len(p.distinct)), make(uuids, len(p.distinct))
		for i, k := range p.distinct {
			tenants[i], hashes[i] = uuidElement(k.tenant), uuidElement(k.hash)
		}
		batch.Queue(seenInsert, tenants, hashes, now.Add(s.cfg.SeenFor)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var hash uuid.UUID
				if err := rows.Scan((*[16]byte)(&hash)); err != nil {
					return err
				}
				fresh[hash] = struct{}{}
			}
			return nil
		})
	}
	l.queue(batch)
	if err := tx.Send(ctx, batch); err != nil {
		return nil, err
	}
	return fresh, nil
}

// more loads all that some profiles own. An identifier or order that was loaded already comes again,
// as it was: the transaction sees one state.
func (l *rows) more(ctx context.Context, tx *Tx, profiles []apply.ProfileKey) error {
	tenants, ids := make(uuids, len(profiles)), make(uuids, len(profiles))
	for i, p := range profiles {
		tenants[i], ids[i] = uuidElement(p.Tenant), uuidElement(p.ID)
	}
	batch := tx.Batch()
	batch.Queue(identifierOfProfile, tenants, ids).Query(l.addIdentifiers)
	batch.Queue(spanOfProfile, tenants, ids).Query(l.addSpans)
	batch.Queue(orderOfProfile, tenants, ids).Query(l.addOrders)
	return tx.Send(ctx, batch)
}

func (l *rows) queue(batch *pgx.Batch) {
	if len(l.keys.Nodes) == 0 {
		return
	}
	tenants, nodes := make(uuids, len(l.keys.Nodes)), make(uuids, len(l.keys.Nodes))
	for i, k := range l.keys.Nodes {
		tenants[i], nodes[i] = uuidElement(k.Tenant), uuidElement(k.Node)
	}
	batch.Queue(identifierLoad, tenants, nodes).Query(l.addIdentifiersAndOwners)
	if len(l.keys.Orders) > 0 {
		tenants, keys := make(uuids, len(l.keys.Orders)), make(uuids, len(l.keys.Orders))
		for i, k := range l.keys.Orders {
			tenants[i], keys[i] = uuidElement(k.Tenant), uuidElement(keyOf(k.ID))
		}
		batch.Queue(orderLoad, tenants, keys).Query(l.addOrdersAndOwners)
	}
	if len(l.keys.Products) > 0 {
		tenants, keys := make(uuids, len(l.keys.Products)), make(uuids, len(l.keys.Products))
		for i, k := range l.keys.Products {
			tenants[i], keys[i] = uuidElement(k.Tenant), uuidElement(keyOf(k.ID))
		}
		batch.Queue(productLoad, tenants, keys).Query(l.addProducts)
	}
}

// keyOf is the primary key of an order or product within its tenant.
func keyOf(id string) uuid.UUID {
	sum := sha256.Sum256([]byte(id))
	return uuid.UUID(sum[:16])
}

func sortMessageKeys(keys []messageKey) {
	slices.SortFunc(keys, func(a, b messageKey) int {
		if c := bytes.Compare(a.tenant[:], b.tenant[:]); c != 0 {
			return c
		}
		return bytes.Compare(a.hash[:], b.hash[:])
	})
}
