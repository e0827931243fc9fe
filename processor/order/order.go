// Package order keeps orders and products as events tell of them (spec 2.7). It is pure: no I/O, no
// clock. Events count in log order: a "late" one is one that comes later in the log. Which events
// may speak of orders, where orders are kept and whose they are after a collapse is the caller's
// business.
package order

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Limits of one order. What exceeds them is left out: a longer text is no text, a longer id names
// nothing, and lines beyond the limit are not kept.
const (
	MaxIDBytes    = 512       // an order's or a product's id
	MaxTextBytes  = 1024      // a name, a category, a currency, a coupon
	MaxItems      = 10_000    // lines of an order, and products named by one event
	MaxItemsBytes = 900 << 10 // all lines of an order as JSON, so that it fits the broker's message
)

// Statuses of an order.
const (
	Incomplete = "incomplete"
	Completed  = "completed"
	Cancelled  = "cancelled"
	Refunded   = "refunded"
)

// rank orders statuses; none goes back.
func rank(status string) int {
	switch status {
	case Completed:
		return 1
	case Cancelled, Refunded:
		return 2
	}
	return 0
}

// Input is what one event brings to an order.
type Input struct {
	Name    string    // event_name
	Payload []byte    // raw JSON object
	At      time.Time // event time
	Profile uuid.UUID // whose event it is
}

// Apply lets one event change its order and tells whether it did; a change raises the version by
// one. A version of 0 is an order not known before, with no more than its OrderID set. Slices of
// the state before are never written to, so shallow copies of it stay good.
//
// On an order that is completed, or more, cart events and returns (cancelled, refunded) touch
// neither lines nor totals. Everything else does: a second completion, "order updated", a page.
func Apply(o *event.OrderState, in Input) (changed bool) {
	var m members
	m.read(in.Payload)
	e := classify(in.Name)
	unknown := o.Version == 0
	next := *o
	if unknown {
		next.Status, next.Items = Incomplete, []event.OrderItem{}
		next.FirstEvent, next.LastEvent = in.At, in.At
	}
	if unknown || e.touches(o.Status) {
		changed = applyItems(&next, &m, e) || changed
		changed = applyTotals(&next, &m) || changed
	}
	if s := e.status(); rank(s) >= rank(next.Status) && s != "" {
		changed = put(&next.Status, s) || changed
	}
	if e == completed && next.CompletedAt.IsZero() {
		changed = put(&next.CompletedAt, in.At) || changed
	}
	if in.At.Before(next.FirstEvent) {
		changed = put(&next.FirstEvent, in.At) || changed
	}
	if in.At.After(next.LastEvent) {
		changed = put(&next.LastEvent, in.At) || changed
	}
	changed = put(&next.ProfileID, in.Profile) || changed
	if !changed && !unknown {
		return false
	}
	next.Version++
	*o = next
	return true
}

func put[T comparable](dst *T, v T) bool {
	if *dst == v {
		return false
	}
	*dst = v
	return true
}

// applyTotals takes what the payload gives; what it does not give stays.
func applyTotals(o *event.OrderState, m *members) (changed bool) {
	changed = putDecimal(&o.Total, m.total, m.revenue, m.value)
	changed = putDecimal(&o.Tax, m.tax) || changed
	changed = putDecimal(&o.Shipping, m.shipping) || changed
	changed = putDecimal(&o.Discount, m.discount) || changed
	// Upper case, as events.currency is: one sender says eur and another EUR, and sums are by currency.
	changed = putText(&o.Currency, strings.ToUpper(text(m.currency, MaxTextBytes))) || changed
	return putText(&o.Coupon, text(m.coupon, MaxTextBytes)) || changed
}

// putDecimal takes the first that is a decimal. The same value in other digits is no change.
func putDecimal(dst *string, raws ...[]byte) bool {
	for _, raw := range raws {
		if d := decimal(raw); d != "" {
			return !sameDecimal(*dst, d) && put(dst, d)
		}
	}
	return false
}

func putText(dst *string, s string) bool { return s != "" && put(dst, s) }
