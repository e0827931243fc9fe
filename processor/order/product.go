package order

import (
	"slices"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Named is what a payload names. The order is its order_id, a non-empty string (trimmed) or a number
// (its exact text); "" is none. The products are each there once, as skeletons of version 1: the line
// items, in order, then a top-level product_id. Of a product that is named twice the first values
// count.
func Named(payload []byte, at time.Time) (orderID string, products []event.ProductState) {
	var m members
	m.read(payload)
	items, _ := m.list()
	if one, ok := m.item(m.productID); ok {
		var room [1]event.OrderItem // not on the heap: most payloads that name a product name one
		if len(items) == 0 {
			items = room[:0]
		}
		items = append(items, one)
	}
	return text(m.orderID, MaxIDBytes), skeletons(items, at)
}

// manyItems are too many to look through for each other.
const manyItems = 16

func skeletons(items []event.OrderItem, at time.Time) []event.ProductState {
	if len(items) == 0 {
		return nil
	}
	products := make([]event.ProductState, 0, len(items))
	var known map[string]int // nil: look through products
	if len(items) > manyItems {
		known = make(map[string]int, len(items))
	}
	for _, i := range items {
		p := event.ProductState{
			ProductID: i.ProductID, Name: i.Name, Price: i.Price, Category: i.Category,
			Skeleton: true, FirstSeen: at, Version: 1,
		}
		n, ok := known[p.ProductID]
		if known == nil {
			n = slices.IndexFunc(products, func(q event.ProductState) bool { return q.ProductID == p.ProductID })
			ok = n >= 0
		}
		if ok {
			fill(&products[n], &p)
			continue
		}
		if known != nil {
			known[p.ProductID] = len(products)
		}
		products = append(products, p)
	}
	return products
}

// Provision lets an event's skeleton make a product known (version 0: not known before) or fill
// what is empty in another skeleton, and tells whether it did; a change raises the version by one.
// What a catalogue has written is never touched.
func Provision(p *event.ProductState, from event.ProductState) (changed bool) {
	if p.Version == 0 {
		*p = from
		p.Skeleton, p.Version = true, 1
		return true
	}
	if !p.Skeleton {
		return false
	}
	changed = fill(p, &from)
	if from.FirstSeen.Before(p.FirstSeen) {
		p.FirstSeen, changed = from.FirstSeen, true
	}
	if changed {
		p.Version++
	}
	return changed
}

func fill(p, from *event.ProductState) (changed bool) {
	for _, x := range []struct {
		dst *string
		src string
	}{{&p.Name, from.Name}, {&p.Price, from.Price}, {&p.Category, from.Category}} {
		if *x.dst == "" && x.src != "" {
			*x.dst, changed = x.src, true
		}
	}
	return changed
}
