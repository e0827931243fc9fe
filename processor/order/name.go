package order

import (
	"unicode"
	"unicode/utf8"
)

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

// classify looks a name up, trimmed, in any case, with _ and - read as spaces and runs of spaces
// as one.
func classify(name string) class {
	var buf [longestName]byte
	n, space := 0, false
	for _, r := range name {
		if r == '_' || r == '-' || unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if space {
			if n == len(buf) {
				return other
			}
			buf[n], space = ' ', false
			n++
		}
		if r >= utf8.RuneSelf || n == len(buf) {
			return other
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		buf[n] = byte(r)
		n++
	}
	switch string(buf[:n]) {
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
