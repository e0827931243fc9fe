package store

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
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
	seenAdd             = sql.Statement("seen_add")
	seenRead            = sql.Statement("seen_read")
	identifierLoad      = sql.Statement("identifier_load")
	orderLoad           = sql.Statement("order_load")
	productLoad         = sql.Statement("product_load")
	identifierOfProfile = sql.Statement("identifier_of_profile")
	spanOfProfile       = sql.Statement("span_of_profile")
	orderOfProfile      = sql.Statement("order_of_profile")
)

// Without locks, for what is validated when it is written.
var (
	identifierRead = withoutLocks(identifierLoad)
	orderRead      = withoutLocks(orderLoad)
)

func withoutLocks(statement string) string {
	return strings.Replace(statement, "FOR UPDATE OF p", "", 1)
}

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
	unlocked      bool // read before the transaction, for an attempt that may fail

	// By key, of what is there.
	orderRevisions   map[apply.OrderKey]int64
	productRevisions map[apply.ProductKey]int64

	// By node. Both are nil where nobody was erased.
	gone   map[uuid.UUID]identity.Gone
	vacant map[uuid.UUID]struct{} // identifiers that are there and nobody's

	folded *apply.State // the last working set made of them
	torn   bool         // a profile was loaded twice, and was not the same
}

type order struct {
	tenant uuid.UUID
	event.OrderState
	revision int64
}

type product struct {
	tenant uuid.UUID
	event.ProductState
	revision int64
}

// state is a fresh working set.
func (l *rows) state(settings map[uuid.UUID]*event.Settings) *apply.State {
	st := &apply.State{
		Settings:      settings,
		Identifiers:   make(map[uuid.UUID]*identity.Identifier, len(l.keys.Nodes)),
		Profiles:      make(map[uuid.UUID]*identity.Profile, len(l.keys.Nodes)),
		Orders:        make(map[apply.OrderKey]*event.OrderState, len(l.keys.Orders)),
		Products:      make(map[apply.ProductKey]*event.ProductState, len(l.keys.Products)),
		Gone:          l.gone,
		LastCreatedAt: l.lastCreatedAt,
	}
	identifiers, profiles := slices.Clone(l.identifiers), slices.Clone(l.profiles)
	for i := range identifiers {
		st.Identifiers[identifiers[i].Node] = &identifiers[i]
	}
	for i := range profiles {
		p := &profiles[i]
		p.Owned = slices.Clone(p.Owned)
		if again := st.Profiles[p.ID]; again != nil && again.Revision != p.Revision {
			l.torn = true
		}
		st.Profiles[p.ID] = p
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
	l.folded = st
	return st
}

// open is the first round trip: fence, message ids, and all that the batch names. It answers which
// message ids are new.
func (s *Store) open(ctx context.Context, tx *Tx, b *Batch, p *prepared, l *rows, now time.Time) (map[uuid.UUID]struct{}, error) {
	var fresh map[uuid.UUID]struct{}
	batch := tx.Batch()
	fence(b, batch, &l.lastCreatedAt)
	if len(p.distinct) > 0 {
		s.queueSeen(batch, p, now, func(hashes map[uuid.UUID]struct{}) error {
			fresh = hashes
			return nil
		})
	}
	l.queue(batch, &p.keys, identifierLoad, orderLoad)
	if err := tx.Send(ctx, batch); err != nil {
		return nil, err
	}
	return fresh, nil
}

// queueSeen remembers the message ids, and tells which of them are new.
func (s *Store) queueSeen(batch *pgx.Batch, p *prepared, now time.Time, then func(fresh map[uuid.UUID]struct{}) error) {
	batch.Queue(seenInsert, p.hashes(), now.Add(s.cfg.SeenFor)).Query(func(rows pgx.Rows) error {
		hashes, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		if err != nil {
			return err
		}
		fresh := make(map[uuid.UUID]struct{}, len(hashes))
		for _, hash := range hashes {
			fresh[hash] = struct{}{}
		}
		return then(fresh)
	})
}

func (p *prepared) hashes() uuids {
	hashes := make(uuids, len(p.distinct))
	for i, k := range p.distinct {
		hashes[i] = uuidElement(k.hash)
	}
	return hashes
}

// queueOwned loads all that some profiles own. An identifier or order that was loaded already comes
// again.
func (l *rows) queueOwned(batch *pgx.Batch, profiles []apply.ProfileKey) {
	tenants, ids := make(uuids, len(profiles)), make(uuids, len(profiles))
	for i, p := range profiles {
		tenants[i], ids[i] = uuidElement(p.Tenant), uuidElement(p.ID)
	}
	batch.Queue(identifierOfProfile, tenants, ids).Query(l.addIdentifiers)
	batch.Queue(spanOfProfile, tenants, ids).Query(l.addSpans)
	batch.Queue(orderOfProfile, tenants, ids).Query(l.addOrders)
}

// queue loads what keys name, and the owners, by two statements.
func (l *rows) queue(batch *pgx.Batch, keys *apply.Keys, identifiers, orders string) {
	if n := len(keys.Nodes); n > 0 {
		tenants, nodes := make(uuids, n), make(uuids, n)
		for i, k := range keys.Nodes {
			tenants[i], nodes[i] = uuidElement(k.Tenant), uuidElement(k.Node)
		}
		batch.Queue(identifiers, tenants, nodes).Query(l.addIdentifiersAndOwners)
	}
	if n := len(keys.Orders); n > 0 {
		tenants, ids := make(uuids, n), make(uuids, n)
		for i, k := range keys.Orders {
			tenants[i], ids[i] = uuidElement(k.Tenant), uuidElement(keyOf(k.ID))
		}
		batch.Queue(orders, tenants, ids).Query(l.addOrdersAndOwners)
	}
	if n := len(keys.Products); n > 0 {
		tenants, ids := make(uuids, n), make(uuids, n)
		for i, k := range keys.Products {
			tenants[i], ids[i] = uuidElement(k.Tenant), uuidElement(keyOf(k.ID))
		}
		batch.Queue(productLoad, tenants, ids).Query(l.addProducts)
	}
}

// keyOf is the primary key of an order or product within its tenant.
func keyOf(id string) uuid.UUID {
	sum := sha256.Sum256([]byte(id))
	return uuid.UUID(sum[:16])
}
