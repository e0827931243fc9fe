package shop

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// ledger works out the truth from the bytes alone, slowly and by other means than the stream does:
// the specification read by a person who has only the events.
type ledger struct {
	seen     map[string]bool
	parent   map[string]string // union-find over verified identifiers
	device   map[string]bool   // → somebody is named there
	silent   map[string]bool   // devices whose first event named nobody
	account  map[string]map[string]bool
	status   map[string]string
	total    map[string]string // of orders: "129.90 EUR"
	products map[string]bool
	ids      map[string]map[string]bool
	counts   map[string]int
}

func newLedger() *ledger {
	return &ledger{seen: map[string]bool{}, parent: map[string]string{}, device: map[string]bool{}, silent: map[string]bool{},
		account: map[string]map[string]bool{}, status: map[string]string{}, total: map[string]string{}, products: map[string]bool{},
		ids: map[string]map[string]bool{"email": {}, "phone": {}, "crm_id": {}}, counts: map[string]int{}}
}

func (l *ledger) find(id string) string {
	for l.parent[id] != id {
		id = l.parent[id]
	}
	return id
}

type document struct {
	MessageID string          `json:"message_id"`
	Device    string          `json:"anonymous_id"`
	Identity  json.RawMessage `json:"identity"`
	Type      string          `json:"event_type"`
	Name      string          `json:"event_name"`
	Payload   struct {
		Email, Phone string
		Order        json.RawMessage `json:"order_id"`
		Product      json.RawMessage `json:"product_id"`
		Total        json.RawMessage
		Currency     string
		Products     []struct {
			Product json.RawMessage `json:"product_id"`
			SKU     string
		}
	}
	Context struct {
		Traits struct{ Email string }
	}
}

// bare is the text of a raw string or number.
func bare(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }

func (d *document) verified() []string {
	var out []string
	add := func(kind, value string) {
		switch kind {
		case "email":
			value = strings.ToLower(value)
		case "phone":
			value = strings.ReplaceAll(value, " ", "")
		}
		if value != "" && value != "null" && value != "undefined" {
			out = append(out, kind+" "+value)
		}
	}
	var object map[string]json.RawMessage
	switch text := bare(d.Identity); {
	case json.Unmarshal(d.Identity, &object) == nil && object != nil:
		for kind, value := range object {
			add(kind, bare(value))
		}
	case strings.Contains(text, "@"):
		add("email", text)
	case strings.HasPrefix(text, "+"):
		add("phone", text)
	default:
		add("crm_id", text)
	}
	if d.Type == "identify" {
		add("email", d.Payload.Email)
		add("phone", d.Payload.Phone)
		if len(d.Identity) == 0 || string(d.Identity) == "null" {
			add("email", d.Context.Traits.Email)
		}
	}
	return out
}

func (l *ledger) book(t *testing.T, body []byte) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if l.seen[d.MessageID] {
		l.counts["duplicates"]++
		return
	}
	l.seen[d.MessageID] = true
	l.counts[d.Type]++
	ids := d.verified()
	for i, id := range ids {
		kind, value, _ := strings.Cut(id, " ")
		l.ids[kind][value] = true
		if l.parent[id] == "" {
			l.parent[id] = id
		}
		if i > 0 {
			l.parent[l.find(id)] = l.find(ids[0])
		}
	}
	if d.Device != "" {
		named, known := l.device[d.Device]
		if !known && len(ids) == 0 {
			l.silent[d.Device] = true
		}
		l.device[d.Device] = named || len(ids) > 0
		for _, id := range ids {
			if l.account[d.Device] == nil {
				l.account[d.Device] = map[string]bool{}
			}
			l.account[d.Device][id] = true
		}
	}
	l.order(&d)
	for _, p := range d.Payload.Products {
		l.name(p.Product, p.SKU)
	}
	l.name(d.Payload.Product, "") // alone, a sku names no product (spec 2.7)
}

func (l *ledger) name(product json.RawMessage, sku string) {
	switch {
	case len(product) > 0:
		l.products[bare(product)] = true
	case sku != "":
		l.products[sku] = true
	}
}

func (l *ledger) order(d *document) {
	id := bare(d.Payload.Order)
	if id == "" {
		return
	}
	name := strings.ToLower(strings.TrimSpace(strings.NewReplacer("_", " ", "-", " ").Replace(d.Name)))
	switch {
	case name == "order completed":
		l.status[id], l.total[id] = StatusCompleted, bare(d.Payload.Total)+" "+d.Payload.Currency
	case name == "order cancelled":
		l.status[id] = StatusCancelled
	case name == "order refunded":
		l.status[id] = StatusRefunded
	case l.status[id] == "":
		l.status[id] = StatusIncomplete
	}
}

func (l *ledger) truth(t *testing.T) Truth {
	tr := Truth{Duplicates: l.counts["duplicates"], Messages: len(l.seen), Identifies: l.counts["identify"],
		Tracks: l.counts["track"], Pages: l.counts["page"], Devices: len(l.device), Products: len(l.products),
		Emails: len(l.ids["email"]), Phones: len(l.ids["phone"]), CRMIDs: len(l.ids["crm_id"]),
		Orders: map[string]int{}, Revenue: map[string]int64{}}
	for id := range l.parent {
		if l.find(id) == id {
			tr.People++
		}
	}
	for id, named := range l.device {
		switch {
		case !named:
			tr.Shadows++
		case l.silent[id]:
			tr.Collapses++
		}
		people := map[string]bool{}
		for id := range l.account[id] {
			people[l.find(id)] = true
		}
		if len(people) > 1 {
			tr.SharedDevices++
		}
	}
	for id, status := range l.status {
		tr.Orders[status]++
		if status != StatusCompleted {
			continue
		}
		amount, currency, _ := strings.Cut(l.total[id], " ")
		whole, cents, ok := strings.Cut(amount, ".")
		if !ok || len(cents) != 2 {
			t.Fatalf("order %s: total %q", id, amount)
		}
		var hundredths int64
		for _, digit := range whole + cents {
			hundredths = hundredths*10 + int64(digit-'0')
		}
		tr.Revenue[currency] += hundredths
	}
	return tr
}

func TestTruthIsWhatTheEventsSay(t *testing.T) {
	for _, m := range mixes() {
		for seed := range uint64(2) {
			s := stream(t, func(c *Config) { c.Mix, c.Seed, c.Invalid, c.Events = m, seed, 0.01, 2_000 })
			l := newLedger()
			deliveries, invalid := 0, 0
			for body, d := range s.All() {
				deliveries++
				if d.Invalid != "" {
					invalid++
					continue
				}
				l.book(t, body)
			}
			got, want := s.Truth(), l.truth(t)
			want.Deliveries, want.Invalid, want.Households = deliveries, invalid, got.Households
			maps.DeleteFunc(got.Orders, func(_ string, n int) bool { return n == 0 })
			maps.DeleteFunc(got.Revenue, func(_ string, n int64) bool { return n == 0 })
			if !maps.Equal(got.Orders, want.Orders) || !maps.Equal(got.Revenue, want.Revenue) {
				t.Errorf("%s, seed %d:\n got %v %v\nwant %v %v", m.Name, seed, got.Orders, got.Revenue, want.Orders, want.Revenue)
			}
			if a, b := flat(got), flat(want); a != b {
				t.Errorf("%s, seed %d:\n got %s\nwant %s", m.Name, seed, a, b)
			}
			if got.Delivered()+got.Invalid != got.Deliveries || got.Devices < got.Shadows+got.Collapses {
				t.Errorf("%s, seed %d: the books do not balance: %+v", m.Name, seed, got)
			}
		}
	}
}

func flat(t Truth) string {
	t.Orders, t.Revenue = nil, nil
	text, _ := json.Marshal(t)
	return string(text)
}
