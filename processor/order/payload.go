package order

import (
	"bytes"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// maxDepth is that of an event, which the edge has checked.
const maxDepth = 64

// members are what matters of a payload, or of a line: raw JSON, nil where absent or null.
type members struct {
	orderID                         []byte
	products, lineItems, items      []byte
	productID, sku, id              []byte
	quantity, price, name, category []byte
	total, revenue, value           []byte
	tax, shipping, discount         []byte
	currency, coupon                []byte
}

// read takes the members of one object; of a name that is there twice the last counts. What is no
// object has none. It allocates nothing.
func (m *members) read(object []byte) {
	*m = members{}
	var s jsonscan.Members
	s.Reset(object, maxDepth)
	for s.Next() {
		if dst := m.member(s.Key()); dst != nil {
			if *dst = s.Value(); jsonscan.KindOf(*dst) == jsonscan.Null {
				*dst = nil
			}
		}
	}
	if s.Err() != nil {
		*m = members{}
	}
}

func (m *members) member(name []byte) *[]byte {
	switch string(name) {
	case "order_id":
		return &m.orderID
	case "products":
		return &m.products
	case "line_items":
		return &m.lineItems
	case "items":
		return &m.items
	case "product_id":
		return &m.productID
	case "sku":
		return &m.sku
	case "id":
		return &m.id
	case "quantity":
		return &m.quantity
	case "price":
		return &m.price
	case "name":
		return &m.name
	case "category":
		return &m.category
	case "total":
		return &m.total
	case "revenue":
		return &m.revenue
	case "value":
		return &m.value
	case "tax":
		return &m.tax
	case "shipping":
		return &m.shipping
	case "discount":
		return &m.discount
	case "currency":
		return &m.currency
	case "coupon":
		return &m.coupon
	}
	return nil
}

// text is a string, trimmed, without what a state store cannot hold, or a number's exact text;
// "" for everything else and for what is longer than limit.
func text(raw []byte, limit int) string {
	var s []byte
	switch jsonscan.KindOf(raw) {
	case jsonscan.Number:
		s = raw
	case jsonscan.String:
		s = bytes.TrimSpace(jsonscan.Unquote(nil, raw))
	}
	if bytes.IndexByte(s, 0) >= 0 {
		s = bytes.ReplaceAll(s, []byte{0}, []byte("\ufffd"))
	}
	if len(s) > limit {
		return ""
	}
	return string(s)
}
