package order

import "github.com/keystone-cdp/keystone/internal/event"

// class is what an event says of an order, by its name.
type class byte

const (
	other class = iota
	cart
	added   // one product, into the cart
	removed // one product, out of it
	completed
	cancelled
	refunded
)

// longestName has room for the longest name of the table.
const longestName = len("checkout step completed")

// classify looks a name up, as event.FoldName compares them.
func classify(name string) class {
	var buf [longestName]byte
	folded, ok := event.FoldName(buf[:0], name)
	if !ok {
		return other
	}
	switch string(folded) {
	case "cart updated", "cart viewed", "cart created", "checkout started", "checkout step viewed",
		"checkout step completed", "payment info entered":
		return cart
	case "added to cart", "product added":
		return added
	case "removed from cart", "product removed":
		return removed
	case "order completed", "checkout completed", "purchase":
		return completed
	case "order cancelled", "order canceled":
		return cancelled
	case "order refunded":
		return refunded
	}
	return other
}

// status is what the order becomes, "" where the event does not say.
func (c class) status() string {
	switch c {
	case cart, added, removed:
		return Incomplete
	case completed:
		return Completed
	case cancelled:
		return Cancelled
	case refunded:
		return Refunded
	}
	return ""
}

// touches tells whether lines and totals of a known order may change.
func (c class) touches(status string) bool {
	switch c {
	case cart, added, removed:
		return rank(status) == 0
	case cancelled, refunded:
		return false // they name what was returned
	}
	return true
}
