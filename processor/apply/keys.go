package apply

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/order"
)

// named is what an event's payload names beside people. Reading it costs a scan of the payload,
// so it is kept with the event: a batch that runs again does not scan again.
type named struct {
	read     bool
	order    string // "": none
	products []event.ProductState
}

func (e *Event) scan() *named {
	n := &e.named
	if n.read {
		return n
	}
	n.read = true
	if !mayName(e.Payload) {
		return n
	}
	n.order, n.products = order.Named(e.Payload, e.At)
	if e.Type != event.Track && e.Type != event.Page {
		n.order = ""
	}
	return n
}

// mayName is a quick no for most payloads: none of the names under which package order looks for
// orders and products stands before any colon, nor is there an escape that could hide one.
func mayName(payload []byte) bool {
	if bytes.IndexByte(payload, '\\') >= 0 {
		return true
	}
	for i := 0; ; i++ {
		n := bytes.IndexByte(payload[i:], ':')
		if n < 0 {
			return false
		}
		if i += n; endsInName(payload[:i]) {
			return true
		}
	}
}

// endsInName tells whether b ends in one of the names, a quote and white space.
func endsInName(b []byte) bool {
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	if len(b) < len(items)+1 || b[len(b)-1] != '"' {
		return false
	}
	b = b[:len(b)-1]
	switch b[len(b)-1] {
	case 'd':
		return bytes.HasSuffix(b, orderID) || bytes.HasSuffix(b, productID)
	case 's':
		return bytes.HasSuffix(b, products) || bytes.HasSuffix(b, items)
	}
	return false
}

var (
	orderID   = []byte("order_id")
	productID = []byte("product_id")
	products  = []byte("products")
	items     = []byte("items") // and line_items
)

// KeysOf is what must be loaded for a batch of events.
func KeysOf(events []Event) Keys {
	var k Keys
	orders, products := 0, 0
	for i := range events {
		n := events[i].scan()
		products += len(n.products)
		if n.order != "" {
			orders++
		}
	}
	k.Nodes = make([]NodeKey, 0, len(events)/2)
	k.Orders, k.Products = make([]OrderKey, 0, orders), make([]ProductKey, 0, products)
	nodes := make(map[uuid.UUID]struct{}, len(events))
	node := func(tenant, id uuid.UUID) { // most are there already: sorting is what costs
		if _, ok := nodes[id]; !ok {
			nodes[id] = struct{}{}
			k.Nodes = append(k.Nodes, NodeKey{tenant, id})
		}
	}
	for i := range events {
		e := &events[i]
		for _, id := range e.IDs.Anonymous {
			node(e.Tenant, id.Node)
		}
		for _, id := range e.IDs.Verified {
			node(e.Tenant, id.Node)
		}
		n := e.scan()
		if n.order != "" {
			k.Orders = append(k.Orders, OrderKey{e.Tenant, n.order})
		}
		for _, p := range n.products {
			k.Products = append(k.Products, ProductKey{e.Tenant, p.ProductID})
		}
	}
	slices.SortFunc(k.Nodes, NodeKey.compare)
	k.Orders = distinct(k.Orders, OrderKey.compare)
	k.Products = distinct(k.Products, ProductKey.compare)
	return k
}

func distinct[K comparable](keys []K, compare func(a, b K) int) []K {
	slices.SortFunc(keys, compare)
	return slices.Compact(keys)
}

func (k NodeKey) compare(o NodeKey) int {
	if c := identity.CompareIDs(k.Tenant, o.Tenant); c != 0 {
		return c
	}
	return identity.CompareIDs(k.Node, o.Node)
}

func (k OrderKey) compare(o OrderKey) int {
	return cmp.Or(identity.CompareIDs(k.Tenant, o.Tenant), strings.Compare(k.ID, o.ID))
}

func (k ProductKey) compare(o ProductKey) int {
	return cmp.Or(identity.CompareIDs(k.Tenant, o.Tenant), strings.Compare(k.ID, o.ID))
}
