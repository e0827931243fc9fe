package applytest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
)

// The tenants of generated logs. Loyalty is a kind of identifier that Strict adds.
var (
	Lenient = uuid.MustParse("11111111-1111-4111-8111-111111111111") // default settings
	Strict  = uuid.MustParse("22222222-2222-4222-8222-222222222222") // limits that are soon reached
)

// Loyalty is Strict's own kind of identifier.
const Loyalty = "loyalty"

// Settings are those of the tenants of generated logs.
func Settings() map[uuid.UUID]*event.Settings {
	strict := event.DefaultSettings()
	strict.Kinds = []string{Loyalty}
	strict.Limits = map[string]int{event.KindAnonymous: 3, event.KindEmail: 2, Loyalty: 2}
	return map[uuid.UUID]*event.Settings{Strict: &strict}
}

// Entry is one event and the partition of the log that it is in.
type Entry struct {
	Lane  string
	Event apply.Event
}

// GoString is one line of a failed property's log.
func (x Entry) GoString() string {
	e := &x.Event
	tenant := "lenient"
	if e.Tenant == Strict {
		tenant = "strict"
	}
	var ids []string
	for _, i := range append(e.IDs.Anonymous[:len(e.IDs.Anonymous):len(e.IDs.Anonymous)], e.IDs.Verified...) {
		ids = append(ids, i.Kind+"="+i.Value)
	}
	return fmt.Sprintf("\n\tlane %s %s %s %s %q %s at %s received %s payload %s traits %s group %q", x.Lane, tenant, e.MessageID,
		e.Type, e.Name, ids, e.At.Format(time.TimeOnly), e.ReceivedAt.Format("15:04:05.000000"), e.Payload, e.Traits, e.GroupID)
}

// Logs generates logs of at most n events: few people and devices, so that they meet often; what
// each event says is random. Message ids repeat now and then, clocks go back, partitions alternate.
func Logs(n int) *rapid.Generator[[]Entry] {
	return rapid.Custom(func(t *rapid.T) []Entry {
		g := logGenerator{T: t, now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), lane: "0"}
		log := make([]Entry, 1+g.upTo("events", n))
		for i := range log {
			log[i] = g.entry(i, log[:i])
		}
		return log
	})
}

type logGenerator struct {
	*rapid.T
	now  time.Time
	lane string
}

func (g *logGenerator) entry(n int, before []Entry) Entry {
	if n > 0 && g.one("again", 20) {
		return before[g.upTo("which", n)]
	}
	if g.one("other lane", 8) {
		g.lane = strconv.Itoa(g.upTo("lane", 2))
	}
	g.now = g.now.Add(pick(g, "step", time.Microsecond, time.Millisecond, time.Second, 0, -5*time.Millisecond))
	e := apply.Event{
		Tenant:     pick(g, "tenant", Lenient, Lenient, Strict, Strict, Strict),
		MessageID:  "m" + strconv.Itoa(n),
		ReceivedAt: g.now,
		At:         g.now.Truncate(time.Millisecond).Add(-pick(g, "age", 0, 0, 0, time.Hour, 2*time.Hour)),
	}
	g.people(&e)
	g.says(&e)
	return Entry{g.lane, e}
}

// one is true once in so many times.
func (g *logGenerator) one(label string, in int) bool { return g.upTo(label, in) == in-1 }

// upTo is below n. Rapid prefers small numbers, which would make most of what is rare very rare.
func (g *logGenerator) upTo(label string, n int) int {
	x := rapid.Uint64().Draw(g.T, label) * 0x9e3779b97f4a7c15
	return int((x ^ x>>32) % uint64(n))
}

func pick[V any](g *logGenerator, label string, from ...V) V { return from[g.upTo(label, len(from))] }

func (g *logGenerator) id(e *apply.Event, kind, prefix string, pool int) event.Identifier {
	return ID(e.Tenant, kind, prefix+strconv.Itoa(g.upTo(kind, pool)))
}

// ID is an identifier.
func ID(tenant uuid.UUID, kind, value string) event.Identifier {
	return event.Identifier{Kind: kind, Value: value, Node: event.NodeID(tenant, kind, value)}
}

func (g *logGenerator) people(e *apply.Event) {
	shape := g.upTo("shape", 12)
	if shape < 8 {
		e.IDs.Anonymous = append(e.IDs.Anonymous, g.id(e, event.KindAnonymous, "device-", 6))
	}
	if shape == 0 {
		e.Type = event.Alias
		if id := g.id(e, event.KindAnonymous, "device-", 6); id != e.IDs.Anonymous[0] {
			e.IDs.Anonymous = append(e.IDs.Anonymous, id)
		}
	}
	if shape < 5 && !g.one("alias of a person", 4) {
		return
	}
	for _, k := range []struct {
		kind, prefix string
		in, pool     int
	}{{event.KindCRM, "u", 3, 4}, {event.KindEmail, "e", 3, 5}, {event.KindPhone, "+1", 4, 3}, {Loyalty, "card-", 4, 4}} {
		if k.kind == Loyalty && e.Tenant != Strict {
			continue
		}
		for in := k.in; g.one("has "+k.kind, in); in *= 3 {
			if id := g.id(e, k.kind, k.prefix, k.pool); !contains(e.IDs.Verified, id) {
				e.IDs.Verified = append(e.IDs.Verified, id)
			}
		}
	}
	if len(e.IDs.Anonymous)+len(e.IDs.Verified) == 0 {
		e.IDs.Verified = append(e.IDs.Verified, g.id(e, event.KindCRM, "u", 4))
	}
}

func contains(ids []event.Identifier, id event.Identifier) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

func (g *logGenerator) says(e *apply.Event) {
	if e.Type == event.Unknown {
		e.Type = pick(g, "type", event.Page, event.Track, event.Track, event.Identify, event.Identify, event.Group)
	}
	switch e.Type {
	case event.Identify:
		e.Payload = []byte(g.object(2, true))
	case event.Group:
		e.GroupID = pick(g, "group", "acme", "a/b~c", `"quoted"`)
		if !g.one("empty group", 3) {
			e.Payload = []byte(g.object(1, false))
		}
	case event.Track, event.Page:
		g.shops(e)
	}
	if g.one("traits", 5) {
		e.Traits = []byte(g.object(1, false))
	}
}

func (g *logGenerator) object(depth int, unset bool) string {
	var members []string
	for range g.upTo("members", 4) {
		key := pick(g, "key", `"a"`, `"a"`, `"a"`, `"b"`, `"b"`, `"c"`, `"a.b"`, `"a/b~"`, `""`, `"__proto__"`)
		members = append(members, key+":"+g.value(depth))
	}
	if unset && g.one("unset", 5) {
		members = append(members, `"$unset":["`+pick(g, "path", "a", "a.b", "b.a", "/a~1b~0", "missing")+`"]`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (g *logGenerator) value(depth int) string {
	if depth > 0 && g.one("nested", 3) {
		return g.object(depth-1, false)
	}
	return pick(g, "value", "1", "1.0", "2", "9007199254740993", "null", "true", `"x"`, `"y"`, `""`, `"\u0000"`,
		`["x"]`, `["y","x",1]`, `[1.0,1]`, `[]`, `{}`, `[{"x":1}]`)
}

func (g *logGenerator) shops(e *apply.Event) {
	e.Name = pick(g, "name", "Order Completed", "order_completed", "Cart Updated", "Added to Cart", "removed-from-cart",
		"Order Refunded", "Order Cancelled", "Order Updated", "Viewed")
	var members []string
	add := func(name string, in int, values ...string) {
		if g.one("has "+name, in) {
			members = append(members, fmt.Sprintf("%q:%s", name, pick(g, name, values...)))
		}
	}
	add("order_id", 2, `"o1"`, `"o2"`, `" o1 "`, `7`, `"7"`, `""`, `null`)
	add("products", 4, `[]`, `[{"product_id":"p1","quantity":2,"price":"19.99"}]`, `[{"sku":"p2"},{"id":3,"name":"Three","quantity":1.50}]`, `"none"`)
	add("product_id", 4, `"p1"`, `"p2"`, `3`)
	add("quantity", 3, `1`, `2`, `"1.5"`)
	add("price", 4, `10`, `"10.00"`)
	add("total", 3, `100`, `100.00`, `"1e2"`, `"12.345"`)
	add("currency", 4, `"EUR"`, `"USD"`)
	add("coupon", 5, `"SAVE"`)
	add("tax", 5, `1.20`)
	if len(members) > 0 {
		e.Payload = []byte("{" + strings.Join(members, ",") + "}")
	}
}
