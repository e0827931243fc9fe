package order

import (
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Products are those that a payload names, each once, as skeletons of version 1: the line items, in
// order, then a top-level product_id. Of a product that is named twice the first values count.
func Products(payload []byte, at time.Time) []event.ProductState {
	var m members
	m.read(payload)
	items, _ := m.list()
	if one, ok := m.item(m.productID); ok {
		items = append(items, one)
	}
	if len(items) == 0 {
		return nil
	}
	products := make([]event.ProductState, 0, len(items))
	known := make(map[string]int, len(items))
	for _, i := range items {
		p := event.ProductState{
			ProductID: i.ProductID, Name: i.Name, Price: i.Price, Category: i.Category,
			Skeleton: true, FirstSeen: at, Version: 1,
		}
		if n, ok := known[p.ProductID]; ok {
			fill(&products[n], &p)
			continue
		}
		known[p.ProductID] = len(products)
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
