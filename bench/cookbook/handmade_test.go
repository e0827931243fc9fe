package cookbook_test

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// handmade are the cases at the edges: half an hour, midnight, weeks, one time for several events,
// looking back, other spellings, merges. The two tenants have the same, so that one's would show in
// the other's answers.
func handmade(tenant uuid.UUID) []string {
	b := &book{at: time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)}

	// 30 minutes to the millisecond, and one more.
	b.page("edge", "", "/a", "")
	b.later(30 * time.Minute)
	b.page("edge", "", "/b", "")
	b.page("edge", "", "/b", "") // loaded again, at the same time
	b.later(30*time.Minute + time.Millisecond)
	b.page("edge", "", "/c", "")

	// Midnight, and a Sunday that becomes a Monday; November that becomes December.
	b.to("2026-11-08T23:59:59.999Z")
	b.page("night", "", "/late", "")
	b.later(time.Millisecond)
	b.page("night", "", "/early", "")
	b.to("2026-11-30T23:50:00Z")
	b.page("night", "", "/late", "")
	b.to("2026-12-01T00:10:00Z")
	b.track("night", "", "Product Viewed", `{"product_id":"P-night"}`)

	// All steps at one time; steps in the wrong order; the window to the millisecond.
	b.to("2026-11-09T10:00:00Z")
	for _, device := range []string{"once", "back"} {
		names := []string{"Product Added", "checkout_started", "ORDER-COMPLETED"}
		for i := range names {
			n := i
			if device == "back" {
				n = len(names) - 1 - i
				b.later(time.Second)
			}
			b.track(device, "", names[n], `{"product_id":"P-1","quantity":1,"price":9.99,"currency":"EUR"}`)
		}
	}
	for _, late := range []time.Duration{0, time.Millisecond} {
		device := fmt.Sprint("window", late)
		b.to("2026-11-10T10:00:00Z")
		b.page(device, "", "/", "")
		b.later(time.Hour)
		b.track(device, "", "Product Added", `{"product_id":"P-2"}`)
		b.page(device, "", "/", "")
		b.to("2026-11-17T10:00:00Z")
		b.later(late)
		b.track(device, "", "Checkout Started", `{}`)
	}
	// One page is not two steps.
	b.page("both", "", "/checkout", "")
	b.page("both", "", "/checkout", "")

	// Ann on two devices, one of them shared with Bob; campaigns of both, orders of both.
	b.to("2026-11-10T09:00:00Z")
	b.page("kiosk", "", "/", "utm_source=google&utm_medium=cpc&utm_campaign=fall")
	b.later(time.Minute)
	b.track("kiosk", "ann@example.com", "Checkout Started", `{"order_id":"O-ann","products":[{"product_id":"P-1","quantity":2,"price":10.50},{"sku":"P-3","quantity":"1.5"}],"total":21,"currency":"EUR"}`)
	b.later(time.Minute)
	b.page("phone", "", "/sale", "utm_source=newsletter&utm_medium=email&utm_campaign=november")
	b.identify("phone", "ann@example.com", `{"city":"Chicago","age":41}`)
	b.later(time.Hour)
	b.page("kiosk", "bob@example.com", "/", "fbclid=abc")
	b.later(time.Minute)
	b.page("kiosk", "", "/p/1", "")
	b.track("kiosk", "bob@example.com", "Order Completed", `{"order_id":"O-bob","products":[{"product_id":"P-1","quantity":1,"price":10.50}],"total":"10.50","currency":"GBP"}`)
	b.later(time.Hour)
	b.identify("kiosk", "ann@example.com", `{"city":"Miami"}`)
	b.page("kiosk", "", "/", "utm_source=google&utm_medium=cpc&utm_campaign=fall")
	b.track("kiosk", "ann@example.com", "Order Completed", `{"order_id":"O-ann","products":[{"product_id":"P-1","quantity":2,"price":10.50},{"sku":"P-3","quantity":"1.5"}],"total":21.00,"currency":"EUR"}`)
	b.page("kiosk", "", "/thanks", "utm_source=toolate&utm_campaign=toolate")
	b.track("phone", "ann@example.com", "purchase", `{"order_id":"O-usd","products":[{"product_id":"P-2","quantity":1,"price":0.1}],"currency":"USD"}`)
	b.track("phone", "ann@example.com", "Order Completed", `{"order_id":"O-gone","products":[{"product_id":"P-2","quantity":1,"price":5}],"total":5,"currency":"EUR"}`)
	b.track("phone", "ann@example.com", "Order Refunded", `{"order_id":"O-gone"}`)

	// A device passes to somebody who is seen on that day by nothing else: what told so was late.
	b.to("2026-11-19T12:00:00Z")
	b.page("lent", "lea@example.com", "/x", "")
	b.to("2026-11-20T09:00:00Z")
	b.page("lent", "", "/x", "")
	b.to("2026-11-19T23:00:00Z")
	b.page("lent", "max@example.com", "/y", "")
	b.to("2026-11-20T10:00:00Z")
	b.page("lent", "", "/z", "")
	b.to("2026-11-10T12:00:00Z")

	// Two who were one all along: their anchors merge, in a chain.
	for _, n := range []string{"x", "y", "z"} {
		b.page("dev-"+n, "", "/"+n, "utm_source=affiliate&utm_campaign=chain")
		b.identify("dev-"+n, n+"@example.com", `{"name":"`+n+`"}`)
		b.later(time.Minute)
	}
	b.track("", `{"crm_id":"c-1","email":"x@example.com"}`, "Product Added", `{"product_id":"P-4","list":"search"}`)
	b.track("", `{"crm_id":"c-1","email":"y@example.com"}`, "Product Added", `{"product_id":"P-4","list":"home"}`)
	b.track("", `{"email":"z@example.com","phone":"+493012345678"}`, "Added to Cart", `{"product_id":"P-4"}`)
	b.track("", `{"crm_id":"c-1","phone":"+493012345678"}`, "Order Completed", `{"order_id":"O-chain","total":77.77,"currency":"EUR","products":[{"product_id":"P-4","quantity":1,"price":77.77}]}`)

	// Looking back: 30 days to the millisecond, and one more; a touch at the very time of the order.
	for _, early := range []time.Duration{0, time.Millisecond} {
		device := fmt.Sprint("memory", early)
		b.to("2026-11-11T08:00:00Z")
		b.later(-early)
		b.page(device, "", "/", "utm_source=old&utm_campaign=old")
		b.to("2026-12-11T08:00:00Z")
		b.page(device, "", "/", "gclid=now")
		b.track(device, device+"@example.com", "Order Completed", fmt.Sprintf(`{"order_id":"O-%s","total":100,"currency":"EUR"}`, device))
		b.page(device, "", "/", "utm_source=first&utm_campaign=tie") // the same time, received later
	}

	// A cart of somebody known, one of nobody, one that is no hour old at the end of the year.
	b.to("2026-12-12T08:00:00Z")
	b.track("cart", "carl@example.com", "Added to Cart", `{"order_id":"O-cart","product_id":"P-1","quantity":3,"price":1.10,"currency":"EUR"}`)
	b.track("cart2", "", "Added to Cart", `{"order_id":"O-cart2","product_id":"P-9"}`)
	b.to("2026-12-31T23:30:00Z")
	b.track("cart3", "", "Added to Cart", `{"order_id":"O-cart3","product_id":"P-9"}`)
	b.to("2026-12-31T23:00:00Z") // an hour to the second
	b.track("cart4", "", "Added to Cart", `{"order_id":"O-cart4","product_id":"P-9"}`)
	return b.events
}

// book writes events one after the other.
type book struct {
	at     time.Time
	events []string
}

func (b *book) later(d time.Duration) { b.at = b.at.Add(d) }

func (b *book) to(at string) {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		panic(err)
	}
	b.at = t
}

func (b *book) page(device, identity, path, query string) {
	b.write(device, identity, "page", "Page", `{}`, fmt.Sprintf(`,"page":{"url":"https://shop.example%s?%s","referrer":"https://www.example.org/x"}`, path, query))
}

func (b *book) track(device, identity, name, payload string) {
	b.write(device, identity, "track", name, payload, "")
}

func (b *book) identify(device, identity, payload string) {
	b.write(device, identity, "identify", "", payload, "")
}

func (b *book) write(device, identity, kind, name, payload, page string) {
	who := ""
	if device != "" {
		who += fmt.Sprintf(`"anonymous_id":%q,`, device)
	}
	switch {
	case identity == "":
	case identity[0] == '{':
		who += `"identity":` + identity + `,`
	default:
		who += fmt.Sprintf(`"identity":%q,`, identity)
	}
	b.events = append(b.events, fmt.Sprintf(`{"message_id":"hand-%03d",%s"event_type":%q,"event_name":%q,"timestamp":%q,"payload":%s,`+
		`"context":{"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"%s}}`,
		len(b.events), who, kind, name, b.at.Format("2006-01-02T15:04:05.000Z"), payload, page))
}
