package cookbook_test

import (
	"encoding/json" //nolint:depguard // the oracle shares no decoder with what it is held against
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// happening is one accepted event as plain Go reads it: from its JSON, with nothing of the sink's.
type happening struct {
	tenant       uuid.UUID
	id           string // of the message
	kind, name   string
	plain        string // the name, as names are compared
	at, received time.Time
	person       uuid.UUID // as of now, by the identity model
	named        bool      // it names a person by a verified identifier
	bot          bool

	host, path, referrer, referringDomain string
	source, medium, campaign              string // tags of the address
	network                               string // of a click id in it
	orderID                               string
	products                              []string
	list                                  string // payload.list
	listed                                bool
}

type object = map[string]any

// read is an event as happening, but for whom it is of.
func read(tenant uuid.UUID, body []byte, received time.Time) happening {
	var e object
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		panic(fmt.Sprintf("%v: %s", err, body))
	}
	h := happening{
		tenant: tenant, id: word(e["message_id"]), kind: word(e["event_type"]), name: word(e["event_name"]),
		received: received, at: received.Truncate(time.Millisecond),
	}
	h.plain = strings.Join(strings.Fields(strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(h.name))), " ")
	switch t := e["timestamp"].(type) {
	case string:
		at, err := time.Parse(time.RFC3339Nano, t)
		if err != nil {
			panic(err)
		}
		h.at = at.UTC()
	case json.Number:
		ms, err := t.Int64()
		if err != nil {
			panic(err)
		}
		h.at = time.UnixMilli(ms).UTC()
	}
	context, _ := e["context"].(object)
	page, _ := context["page"].(object)
	payload, _ := e["payload"].(object)
	agent := strings.ToLower(word(context["user_agent"]))
	h.bot = strings.Contains(agent, "bot") || strings.HasPrefix(agent, "python-requests")
	h.address(word(page["url"]), word(page["referrer"]))
	h.orderID = strings.TrimSpace(word(payload["order_id"]))
	h.list, h.listed = payload["list"].(string)
	if p := word(payload["product_id"]); p != "" {
		h.products = append(h.products, p)
	}
	items, _ := payload["products"].([]any)
	for _, item := range items {
		p := word(item.(object)["product_id"])
		if p == "" {
			p = word(item.(object)["sku"])
		}
		if p != "" && !slices.Contains(h.products, p) {
			h.products = append(h.products, p)
		}
	}
	return h
}

func (h *happening) address(page, referrer string) {
	h.referrer = referrer
	if r, err := url.Parse(referrer); err == nil {
		h.referringDomain = r.Hostname()
	}
	if page == "" {
		return
	}
	u, err := url.Parse(page)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	h.host, h.path = u.Hostname(), u.EscapedPath()
	h.source, h.medium, h.campaign = q.Get("utm_source"), q.Get("utm_medium"), q.Get("utm_campaign")
	for _, c := range [...][2]string{{"ttclid", "tiktok"}, {"msclkid", "bing"}, {"fbclid", "facebook"}, {"wbraid", "google"}, {"gbraid", "google"}, {"gclid", "google"}} {
		if q.Get(c[0]) != "" {
			h.network = c[1]
		}
	}
}

// word is a text or a number's text; empty for anything else.
func word(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	}
	return ""
}

// completes tells whether the event says that an order was completed.
func (h *happening) completes() bool {
	return slices.Contains([]string{"order completed", "checkout completed", "purchase"}, h.plain)
}

// in tells whether it happened at or after since, and before until.
func (h *happening) in(p span) bool { return !h.at.Before(p.since) && h.at.Before(p.until) }

// span is the time a question is about.
type span struct{ since, until time.Time }

// rat is exact money; nothing is 0.
func rat(text string) *big.Rat {
	r := new(big.Rat)
	if text == "" {
		return r
	}
	if _, ok := r.SetString(text); !ok {
		panic("no number: " + text)
	}
	return r
}

// money is an amount as Decimal(38, 9) prints it.
func money(r *big.Rat) string {
	s := r.FloatString(9)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func day(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }

// begin is the first day of the period a time is in.
func begin(period string, t time.Time) time.Time {
	t = day(t)
	switch period {
	case "week":
		for t.Weekday() != time.Monday {
			t = t.AddDate(0, 0, -1)
		}
	case "month":
		for t.Day() != 1 {
			t = t.AddDate(0, 0, -1)
		}
	}
	return t
}

// between counts the periods from one's first day to another's.
func between(period string, from, to time.Time) int {
	n := 0
	for ; from.Before(to); n++ {
		from = following(period, from)
	}
	for ; to.Before(from); n-- {
		to = following(period, to)
	}
	return n
}

func following(period string, t time.Time) time.Time {
	switch period {
	case "week":
		return t.AddDate(0, 0, 7)
	case "month":
		return t.AddDate(0, 1, 0)
	}
	return t.AddDate(0, 0, 1)
}
