package model

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Order is one order. Money and quantities are exact decimals in the form of decimal, "" where
// never given.
type Order struct {
	Tenant      uuid.UUID
	ID          string
	Profile     uuid.UUID
	Status      string
	Items       []Item
	Total       string
	Currency    string
	Tax         string
	Shipping    string
	Discount    string
	Coupon      string
	First, Last time.Time
	CompletedAt time.Time
	Version     int64
}

// Item is one line.
type Item struct{ Product, Quantity, Price, Name, Category string }

// Product is a product as events tell of it.
type Product struct {
	Tenant                    uuid.UUID
	ID, Name, Price, Category string
	FirstSeen                 time.Time
	Version                   int64
}

var incomplete = []string{"cart updated", "removed from cart", "added to cart", "product added", "product removed",
	"cart viewed", "cart created", "checkout started", "checkout step viewed", "checkout step completed", "payment info entered"}

// plain is an event's name as the table has it.
func plain(name string) string {
	name = strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(name))
	return strings.Join(strings.Fields(name), " ")
}

// status is what an event's name makes of an order; "" for any other name.
func status(name string) string {
	switch name = plain(name); {
	case slices.Contains(incomplete, name):
		return "incomplete"
	case name == "order completed", name == "checkout completed", name == "purchase":
		return "completed"
	case name == "order cancelled", name == "order canceled":
		return "cancelled"
	case name == "order refunded":
		return "refunded"
	}
	return ""
}

func rank(status string) int {
	switch status {
	case "completed":
		return 1
	case "cancelled", "refunded":
		return 2
	}
	return 0
}

// orders does what the event says about an order and products (spec 2.7).
func (m *Model) orders(p *Profile) {
	payload := object(m.event.Payload)
	if payload == nil {
		return
	}
	if id := name(payload["order_id"]); id != "" && (m.event.Type == event.Track || m.event.Type == event.Page) {
		m.order(p, id, payload)
	}
	m.products(payload)
}

func (m *Model) order(p *Profile, id string, payload map[string]any) {
	e := m.event
	key := OrderKey{p.Tenant, id}
	o, known := m.Orders[key]
	if !known {
		o = &Order{Tenant: p.Tenant, ID: id, Status: "incomplete", First: e.At, Last: e.At}
		m.Orders[key] = o
	}
	before := *o
	says := status(e.Name)
	protected := says == "incomplete" && rank(o.Status) > 0 || rank(says) == 2
	if !known || !protected {
		o.money(payload)
		o.lines(e.Name, payload)
	}
	if says != "" && rank(says) >= rank(o.Status) {
		o.Status = says
	}
	if says == "completed" && o.CompletedAt.IsZero() {
		o.CompletedAt = e.At
	}
	o.Profile = p.ID
	if e.At.Before(o.First) {
		o.First = e.At
	}
	if e.At.After(o.Last) {
		o.Last = e.At
	}
	if !known || !o.same(&before) {
		o.Version++
	}
}

func (o *Order) same(b *Order) bool { return o.String() == b.String() }

// String is the order on one line.
func (o *Order) String() string {
	return fmt.Sprintf("%s %q of %s %s %+v total %s %q tax %s shipping %s discount %s coupon %q from %d to %d completed %d version %d",
		o.Tenant, o.ID, o.Profile, o.Status, o.Items, o.Total, o.Currency, o.Tax, o.Shipping, o.Discount, o.Coupon,
		micros(o.First), micros(o.Last), micros(o.CompletedAt), o.Version)
}

func (o *Order) money(payload map[string]any) {
	for _, k := range []string{"total", "revenue", "value"} {
		if v := Amount(payload[k]); v != "" {
			o.Total = v
			break
		}
	}
	for k, to := range map[string]*string{"tax": &o.Tax, "shipping": &o.Shipping, "discount": &o.Discount} {
		if v := Amount(payload[k]); v != "" {
			*to = v
		}
	}
	for k, to := range map[string]*string{"currency": &o.Currency, "coupon": &o.Coupon} {
		if v := name(payload[k]); v != "" {
			*to = v
		}
	}
}

func (o *Order) lines(event string, payload map[string]any) {
	if items, ok := list(payload); ok {
		o.Items = items
		return
	}
	line, ok := item(payload, "product_id")
	if !ok {
		return
	}
	if q := line.Quantity; q == "0" || q[0] == '-' {
		return
	}
	o.Items = slices.Clone(o.Items)
	at := slices.IndexFunc(o.Items, func(x Item) bool { return x.Product == line.Product })
	switch name := plain(event); {
	case (name == "added to cart" || name == "product added") && at < 0:
		o.Items = append(o.Items, line)
	case name == "added to cart", name == "product added":
		line.Quantity = sum(o.Items[at].Quantity, line.Quantity, 1)
		for to, was := range map[*string]string{&line.Price: o.Items[at].Price, &line.Name: o.Items[at].Name, &line.Category: o.Items[at].Category} {
			if *to == "" {
				*to = was
			}
		}
		o.Items[at] = line
	case (name == "removed from cart" || name == "product removed") && at >= 0:
		left := sum(o.Items[at].Quantity, line.Quantity, -1)
		if Amount(payload["quantity"]) == "" || left == "0" || left[0] == '-' {
			o.Items = slices.Delete(o.Items, at, at+1)
		} else {
			o.Items[at].Quantity = left
		}
	}
}

// sum is a + sign × b.
func sum(a, b string, sign int64) string {
	x, _ := new(big.Rat).SetString(a)
	y, _ := new(big.Rat).SetString(b)
	x.Add(x, y.Mul(y, new(big.Rat).SetInt64(sign)))
	return decimal(x.FloatString(64))
}

// list is the lines in the first array among the members that may hold them. One that has elements
// and names no product is about something else.
func list(payload map[string]any) ([]Item, bool) {
	for _, k := range []string{"products", "line_items", "items"} {
		if array, ok := payload[k].([]any); ok {
			var items []Item
			for _, v := range array {
				if line, ok := item(v, "product_id", "sku", "id"); ok {
					items = append(items, line)
				}
			}
			return items, len(array) == 0 || len(items) > 0
		}
	}
	return nil, false
}

// item reads one line, its product's id being the first of ids.
func item(v any, ids ...string) (Item, bool) {
	o, _ := v.(map[string]any)
	line := Item{Quantity: Amount(o["quantity"]), Price: Amount(o["price"]), Name: name(o["name"]), Category: name(o["category"])}
	for _, k := range ids {
		if line.Product == "" {
			line.Product = name(o[k])
		}
	}
	if line.Quantity == "" {
		line.Quantity = "1"
	}
	return line, line.Product != ""
}

// products provisions what the event names.
func (m *Model) products(payload map[string]any) {
	named, _ := list(payload)
	if line, ok := item(payload, "product_id"); ok {
		named = append(named, line)
	}
	changed := map[*Product]bool{}
	for _, line := range named {
		key := OrderKey{m.event.Tenant, line.Product}
		p := m.Products[key]
		if p == nil {
			p = &Product{Tenant: key.Tenant, ID: key.ID, FirstSeen: m.event.At}
			m.Products[key] = p
			changed[p] = true
		}
		before := *p
		for to, from := range map[*string]string{&p.Name: line.Name, &p.Price: line.Price, &p.Category: line.Category} {
			if *to == "" {
				*to = from
			}
		}
		if m.event.At.Before(p.FirstSeen) {
			p.FirstSeen = m.event.At
		}
		changed[p] = changed[p] || *p != before
	}
	for p, is := range changed {
		if is {
			p.Version++
		}
	}
}

// name is the text of a string, trimmed, or of a number.
func name(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case number:
		return string(v)
	}
	return ""
}

// Amount is a number, or a string that holds one, as a decimal; "" for anything else.
func Amount(v any) string {
	s := name(v)
	if _, ok := new(big.Rat).SetString(s); !ok || strings.ContainsAny(s, "/_xXpPoObB") {
		return ""
	}
	return decimal(strings.TrimPrefix(s, "+"))
}
