package sink

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/keystone-cdp/keystone/analytics/sink/money"
	"github.com/keystone-cdp/keystone/analytics/sink/weburl"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

const (
	// maxShortText bounds, in bytes, the columns of names: dictionaries must stay small, and the whole
	// text is in context, payload or url.
	maxShortText = 256
	// maxProducts bounds product_ids: more in one event are not listed.
	maxProducts = 10_000
	// fewProducts are told apart by looking through them; a longer list takes a map.
	fewProducts = 32
)

// The lists a payload may have its line items in, in order of preference (spec 2.7).
const (
	listProducts = iota
	listLineItems
	listItems
	numLists
)

// enrich fills the columns analysts reach for most. Nothing in it can fail: what is missing or of
// the wrong type leaves its column empty.
func (d *decoder) enrich(meta *event.Meta, r *row) {
	r.text[colIP] = meta.IP
	if d.event.Context != nil {
		d.context(d.event.Context, r)
	}
	if d.event.Payload != nil {
		d.payload(d.event.Payload, r)
	}
	if r.text[colUserAgent] == "" {
		r.text[colUserAgent] = meta.UserAgent
	}
	a := d.agents.parse(r.text[colUserAgent])
	r.text[colBrowser], r.text[colBrowserVersion] = a.browser, a.browserVersion
	r.text[colOS], r.text[colOSVersion], r.text[colDeviceClass] = a.os, a.osVersion, a.class

	r.text[colReferringDomain] = shortText(weburl.Parse(r.text[colReferrer]).Host)
	if r.text[colURL] == "" {
		return
	}
	parts := weburl.Parse(r.text[colURL])
	r.text[colHost], r.text[colPath] = shortText(parts.Host), parts.Path
	campaign(weburl.Params(parts.Query), r)
}

// context reads what page, device and library say.
func (d *decoder) context(object []byte, r *row) {
	w := &d.walk
	for w.Reset(object); w.Next(); {
		switch string(w.Key()) {
		case "page":
			d.members(r, (*decoder).pageMember)
		case "campaign":
			d.members(r, (*decoder).campaignMember)
		case "library":
			d.members(r, (*decoder).libraryMember)
		case "user_agent", "userAgent":
			r.text[colUserAgent] = d.scalar(w.Value())
		case "locale":
			r.text[colLocale] = d.short(w.Value())
		case "ip":
			if r.text[colIP] == "" { // the edge's word, where it has one, is better than the client's
				r.text[colIP] = d.short(w.Value())
			}
		}
	}
}

// members takes those of the value walk is at, if it is an object.
func (d *decoder) members(r *row, take func(*decoder, []byte, []byte, *row)) {
	if d.walk.Enter() {
		for d.walk.Next() {
			take(d, d.walk.Key(), d.walk.Value(), r)
		}
	}
}

// pageMember takes what context.page says; a page event of Segment's dialect says it in its payload.
func (d *decoder) pageMember(key, raw []byte, r *row) {
	column := -1
	switch string(key) {
	case "url":
		column = colURL
	case "path":
		column = colPath
	case "title":
		column = colPageTitle
	case "referrer":
		column = colReferrer
	}
	if column >= 0 && r.text[column] == "" {
		r.text[column] = d.scalar(raw)
	}
}

func (d *decoder) campaignMember(key, raw []byte, r *row) {
	switch string(key) {
	case "source":
		r.text[colUTMSource] = d.short(raw)
	case "medium":
		r.text[colUTMMedium] = d.short(raw)
	case "name":
		r.text[colUTMCampaign] = d.short(raw)
	case "term":
		r.text[colUTMTerm] = d.scalar(raw)
	case "content":
		r.text[colUTMContent] = d.scalar(raw)
	}
}

func (d *decoder) libraryMember(key, raw []byte, r *row) {
	switch string(key) {
	case "name":
		r.text[colLibraryName] = d.short(raw)
	case "version":
		r.text[colLibraryVersion] = d.short(raw)
	}
}

// campaign takes the parameters that say how a visitor came. The first one of a name counts, as in a
// browser, and it goes before what context.campaign says.
func campaign(q weburl.Params, r *row) {
	var done [numTexts]bool
	for key, value, ok := q.Next(); ok; key, value, ok = q.Next() {
		column := paramColumn(key)
		if column < 0 || value == "" || done[column] {
			continue
		}
		done[column] = true
		r.text[column] = shortText(weburl.Unescape(value))
	}
}

func paramColumn(key string) int {
	switch key {
	case "utm_source":
		return colUTMSource
	case "utm_medium":
		return colUTMMedium
	case "utm_campaign":
		return colUTMCampaign
	case "utm_term":
		return colUTMTerm
	case "utm_content":
		return colUTMContent
	case "gclid":
		return colGclid
	case "gbraid":
		return colGbraid
	case "wbraid":
		return colWbraid
	case "fbclid":
		return colFbclid
	case "msclkid":
		return colMsclkid
	case "ttclid":
		return colTtclid
	}
	return -1
}

// payload reads order, products and money. Of a member given twice the last one counts.
func (d *decoder) payload(object []byte, r *row) {
	clear(d.lists[:])
	var revenue, total, value, product []byte
	w := &d.walk
	for w.Reset(object); w.Next(); {
		raw := w.Value()
		switch string(w.Key()) {
		case "order_id":
			r.text[colOrderID] = d.id(raw)
		case "product_id":
			product = raw
		case "products":
			d.lists[listProducts] = raw
		case "line_items":
			d.lists[listLineItems] = raw
		case "items":
			d.lists[listItems] = raw
		case "revenue":
			revenue = raw
		case "total":
			total = raw
		case "value":
			value = raw
		case "currency":
			r.text[colCurrency] = strings.ToUpper(d.short(raw))
		case "url", "path", "title", "referrer":
			if d.event.Type == event.Page {
				d.pageMember(w.Key(), raw, r)
			}
		}
	}
	d.products(product, r)
	if r.revenue, r.hasRevenue = d.amount(revenue); !r.hasRevenue && (total != nil || value != nil) && completesOrder(d.event.Name) {
		if r.revenue, r.hasRevenue = d.amount(total); !r.hasRevenue {
			r.revenue, r.hasRevenue = d.amount(value)
		}
	}
}

func (d *decoder) amount(raw []byte) (money.Amount, bool) {
	text := d.text(raw)
	if text == nil {
		return money.Amount{}, false
	}
	return money.Parse(view(text))
}

// products lists payload.product_id and the products of the first list there is, each once.
func (d *decoder) products(single []byte, r *row) {
	if len(d.known) > 0 {
		clear(d.known)
	}
	if single != nil {
		d.product(d.id(single), r)
	}
	for _, raw := range d.lists {
		if jsonscan.KindOf(raw) != jsonscan.Array {
			continue
		}
		var elements jsonscan.Elements
		for elements.Reset(raw); elements.Next() && len(r.products) < maxProducts; {
			d.product(d.lineProduct(elements.Value()), r)
		}
		return
	}
}

// lineProduct is a line item's product: its product_id, else sku, else id.
func (d *decoder) lineProduct(raw []byte) string {
	if jsonscan.KindOf(raw) != jsonscan.Object {
		return ""
	}
	var productID, sku, id []byte
	w := &d.walk
	for w.Reset(raw); w.Next(); {
		switch string(w.Key()) {
		case "product_id":
			productID = w.Value()
		case "sku":
			sku = w.Value()
		case "id":
			id = w.Value()
		}
	}
	for _, raw := range [...][]byte{productID, sku, id} {
		if text := d.id(raw); text != "" {
			return text
		}
	}
	return ""
}

func (d *decoder) product(id string, r *row) {
	if id == "" || d.listed(id, r) {
		return
	}
	r.products = append(r.products, id)
}

func (d *decoder) listed(id string, r *row) bool {
	if len(r.products) < fewProducts {
		for _, have := range r.products {
			if have == id {
				return true
			}
		}
		return false
	}
	if len(d.known) == 0 {
		for _, have := range r.products {
			d.known[have] = true
		}
	}
	if d.known[id] {
		return true
	}
	d.known[id] = true
	return false
}

// id is the text of an order's or product's id: trimmed, a number as its exact text.
func (d *decoder) id(raw []byte) string { return view(bytes.TrimSpace(d.text(raw))) }

// short is the text of a value for a LowCardinality column.
func (d *decoder) short(raw []byte) string {
	return shortText(d.scalar(raw))
}

// shortText cuts a text at maxShortText, between characters.
func shortText(s string) string {
	if len(s) <= maxShortText {
		return s
	}
	n := maxShortText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// completesOrder tells whether an event's name says that an order was completed, compared as the processor does.
func completesOrder(name []byte) bool {
	var buf [len("checkout completed")]byte
	folded, ok := event.FoldName(buf[:0], view(name))
	if !ok {
		return false
	}
	switch string(folded) {
	case "order completed", "checkout completed", "purchase":
		return true
	}
	return false
}
