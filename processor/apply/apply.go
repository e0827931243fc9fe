// Package apply folds a batch of events over the state they touch: whom each belongs to, what it
// does to attributes, orders, products and counters (spec 2). It is the processor's whole
// arithmetic, and it is pure: no I/O, no clock, no map order in any result. What it needs is loaded
// before and what it changed is saved after by processor/store.
package apply

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Event is one decoded event with whom it names: what the fold needs. Tenant and message id are
// distinct within a batch and against history; the store sees to it. The JSON is as event.Decode
// accepted it: Run panics on what is none.
type Event struct {
	Tenant     uuid.UUID
	MessageID  string
	Type       event.Type
	Name       string
	IDs        event.Identifiers // never empty
	Payload    []byte            // raw JSON object, or nil
	Traits     []byte            // raw JSON object of context.traits, or nil
	GroupID    string            // group only
	At         time.Time         // event time
	ReceivedAt time.Time
	Trace      string // of a traced event, its span's context; nothing here looks at it

	named named // what the payload names: found by KeysOf or Run, whichever comes first
}

// NodeKey names an identifier.
type NodeKey struct{ Tenant, Node uuid.UUID }

// OrderKey names an order.
type OrderKey struct {
	Tenant uuid.UUID
	ID     string
}

// ProductKey names a product.
type ProductKey struct {
	Tenant uuid.UUID
	ID     string
}

// ProfileKey names a profile.
type ProfileKey struct{ Tenant, ID uuid.UUID }

// Keys is what a batch must load: these identifiers, orders and products as far as they exist, and
// the profiles that own the identifiers and the orders. Sorted and without duplicates, so that
// every transaction takes its locks in the same order.
type Keys struct {
	Nodes    []NodeKey
	Orders   []OrderKey
	Products []ProductKey
}

// State is the working set of one Run. Node and profile ids are name-based in their tenant's name
// space, hence unique across tenants. Run changes it in place: it serves one Run only.
type State struct {
	Settings    map[uuid.UUID]*event.Settings // by tenant; a tenant without has the defaults
	Identifiers map[uuid.UUID]*identity.Identifier
	Profiles    map[uuid.UUID]*identity.Profile // the owner of each loaded identifier, span and order
	Spans       []*identity.Span                // those of the profiles Missing named
	Orders      map[OrderKey]*event.OrderState
	Products    map[ProductKey]*event.ProductState
	Gone        map[uuid.UUID]identity.Gone // by node: what is erased; most batches name none
	// LastCreatedAt is the created_at last given on this partition of the log.
	LastCreatedAt time.Time
}

// Missing says that a merge needs all that these profiles own, and not all of it was loaded. Load
// every identifier, closed span and order of theirs beside what Keys named, into a fresh State, and
// Run again. Once is enough: a second Missing means that the store's counts are wrong.
type Missing struct {
	Profiles []ProfileKey // sorted
}

// Result is what a Run changed. Rows (profiles, identifiers, spans, orders, products) are there once
// each, in their final state, sorted by key. Occurrences (merges, conflicts, lineage) are in the
// order of the log.
type Result struct {
	Profiles    []*identity.Profile // tombstones included
	Identifiers []*identity.Identifier
	Spans       []*identity.Span
	Orders      []Order
	Products    []Product

	Merges    []Merge
	Conflicts []identity.Conflict
	Lineage   []Lineage
	// Redirects: every tombstone, also of earlier batches, that points at Loser must now point at
	// Winner. Winner is live. The tombstones in Profiles point right already.
	Redirects []Redirect

	Erased        int       // events of people who are erased: they did nothing
	LastCreatedAt time.Time // to be kept for the partition
}

// Order is an order that changed.
type Order struct {
	Tenant uuid.UUID
	*event.OrderState
}

// Product is a product that changed.
type Product struct {
	Tenant uuid.UUID
	*event.ProductState
	NamedBy uuid.UUID // the profile of the last event that changed it
}

// Merge is one collapse or merge.
type Merge struct {
	Tenant uuid.UUID
	event.Merge
}

// Lineage is what one version of a profile changed in its attributes.
type Lineage struct {
	Tenant    uuid.UUID
	ProfileID uuid.UUID
	Version   int64
	Changes   []event.AttributeChange
}

// Redirect is a collapsed profile and the live one that has all it had.
type Redirect struct{ Tenant, Loser, Winner uuid.UUID }
