package order

import (
	"slices"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// item reads a line, or the payload as one. What has no usable product id is no line.
func (m *members) item(ids ...[]byte) (event.OrderItem, bool) {
	for _, raw := range ids {
		if id := text(raw, MaxIDBytes); id != "" {
			return event.OrderItem{
				ProductID: id, Quantity: decimal(m.quantity), Price: decimal(m.price),
				Name: text(m.name, MaxTextBytes), Category: text(m.category, MaxTextBytes),
			}, true
		}
	}
	return event.OrderItem{}, false
}

// list is the line items of the payload: the first array among products, line_items and items. The
// lines are as given, a product that is named twice has two; a line without a quantity is one
// piece. An array that has elements but names no product is about something else.
func (m *members) list() ([]event.OrderItem, bool) {
	for _, raw := range [][]byte{m.products, m.lineItems, m.items} {
		if jsonscan.KindOf(raw) != jsonscan.Array {
			continue
		}
		items, size, elements := []event.OrderItem{}, 0, 0
		var e jsonscan.Elements
		var line members
		for e.Reset(raw); e.Next(); elements++ {
			if jsonscan.KindOf(e.Value()) != jsonscan.Object {
				continue
			}
			line.read(e.Value())
			item, ok := line.item(line.productID, line.sku, line.id)
			if !ok {
				continue
			}
			if item.Quantity == "" {
				item.Quantity = "1"
			}
			if size += itemSize(item); len(items) == MaxItems || size > MaxItemsBytes {
				break
			}
			items = append(items, item)
		}
		return items, elements == 0 || len(items) > 0
	}
	return nil, false
}

// itemSize is about the length of a line's JSON.
func itemSize(i event.OrderItem) int {
	const names = len(`{"product_id":"","quantity":"","price":"","name":"","category":""},`)
	return names + len(i.ProductID) + len(i.Quantity) + len(i.Price) + len(i.Name) + len(i.Category)
}

func sameItem(a, b event.OrderItem) bool {
	return a.ProductID == b.ProductID && a.Name == b.Name && a.Category == b.Category &&
		sameDecimal(a.Quantity, b.Quantity) && sameDecimal(a.Price, b.Price)
}

// applyItems replaces the lines by a list, or lets one product in or out.
func applyItems(o *event.OrderState, m *members, c class) (changed bool) {
	if items, ok := m.list(); ok {
		for i := range items {
			if i < len(o.Items) && sameItem(o.Items[i], items[i]) {
				items[i] = o.Items[i]
			}
		}
		if slices.Equal(o.Items, items) {
			return false
		}
		o.Items = items
		return true
	}
	if c != added && c != removed {
		return false
	}
	one, ok := m.item(m.productID)
	if !ok {
		return false
	}
	at := slices.IndexFunc(o.Items, func(i event.OrderItem) bool { return i.ProductID == one.ProductID })
	if c == added {
		return addItem(o, at, one)
	}
	return removeItem(o, at, one.Quantity)
}

// addItem adds to the product's first line, at, or appends a line where there is none (at < 0). The
// line takes what else is given. A quantity that is not positive adds nothing.
func addItem(o *event.OrderState, at int, one event.OrderItem) bool {
	if one.Quantity == "" {
		one.Quantity = "1"
	}
	if !positive(one.Quantity) {
		return false
	}
	if at < 0 {
		size := itemSize(one)
		for _, i := range o.Items {
			size += itemSize(i)
		}
		if len(o.Items) >= MaxItems || size > MaxItemsBytes {
			return false
		}
		o.Items = append(slices.Clip(o.Items), one)
		return true
	}
	line := o.Items[at]
	sum, ok := add(line.Quantity, one.Quantity)
	if !ok {
		return false
	}
	line.Quantity = sum
	if !sameDecimal(line.Price, one.Price) && one.Price != "" {
		line.Price = one.Price
	}
	if one.Name != "" {
		line.Name = one.Name
	}
	if one.Category != "" {
		line.Category = one.Category
	}
	o.Items = slices.Clone(o.Items)
	o.Items[at] = line
	return true
}

// removeItem takes a quantity, or without one all, from the product's first line. A line of
// nothing goes. A quantity that is not positive takes nothing.
func removeItem(o *event.OrderState, at int, quantity string) bool {
	if at < 0 || quantity != "" && !positive(quantity) {
		return false
	}
	if quantity != "" {
		left, ok := subtract(o.Items[at].Quantity, quantity)
		if !ok {
			return false
		}
		if positive(left) {
			o.Items = slices.Clone(o.Items)
			o.Items[at].Quantity = left
			return true
		}
	}
	o.Items = slices.Concat(o.Items[:at], o.Items[at+1:])
	if o.Items == nil {
		o.Items = []event.OrderItem{}
	}
	return true
}
