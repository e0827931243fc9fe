package edge

import (
	"bytes"
	"net/netip"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// errBlocked is the verdict on an event that its tenant does not want. It is no failure of the
// client's: see docs/edge.md for what is answered.
var errBlocked = &event.Error{Code: codeBlocked, Message: "the tenant has blocked this"}

// unwanted tells which of the tenant's blocklists names the event that has just been judged.
// userAgent, if any, is what the client said in another place than the context.
func (r *request) unwanted(b *key.Blocklist, userAgent []byte) key.List {
	e := &r.desk.judge.event
	switch {
	case r.barred != key.NotBlocked:
		return r.barred
	case b.EventName(e.Name):
		return key.ByEventName
	}
	for i := range r.desk.judge.ids.Anonymous {
		if b.AnonymousID(r.desk.judge.ids.Anonymous[i].Value) {
			return key.ByAnonymousID
		}
	}
	if !b.Senders() {
		return key.NotBlocked
	}
	if b.Agent(userAgent) {
		return key.ByUserAgent
	}
	for _, name := range [...]string{"user_agent", "userAgent"} {
		if own := event.Member(e.Context, name); jsonscan.KindOf(own) == jsonscan.String && b.Agent(jsonscan.Unquote(nil, own)) {
			return key.ByUserAgent
		}
	}
	if own := event.Member(e.Context, "ip"); jsonscan.KindOf(own) == jsonscan.String {
		if a, err := netip.ParseAddr(string(bytes.TrimSpace(jsonscan.Unquote(nil, own)))); err == nil && b.Address(a) {
			return key.ByIP
		}
	}
	return key.NotBlocked
}

// hideAddresses does to the addresses that the client has written into an event what the tenant
// wants of them: in context.ip, and in that of the SDK's message kept as original. It writes over
// them in place, which is always long enough, and leaves valid JSON; the event has been judged, so it
// cannot fail. Every member of such a name counts, for all of them would be kept.
func hideAddresses(value []byte, mode key.AddressMode, depth int) {
	var m jsonscan.Members
	for m.Reset(value, depth); m.Next(); {
		switch string(m.Key()) {
		case "context":
			hideContext(m.Value(), mode, depth)
		case "original":
			hideOriginal(m.Value(), mode, depth)
		}
	}
}

func hideOriginal(value []byte, mode key.AddressMode, depth int) {
	if jsonscan.KindOf(value) != jsonscan.Object {
		return
	}
	var m jsonscan.Members
	for m.Reset(value, depth); m.Next(); {
		if string(m.Key()) == "context" {
			hideContext(m.Value(), mode, depth)
		}
	}
}

func hideContext(value []byte, mode key.AddressMode, depth int) {
	if jsonscan.KindOf(value) != jsonscan.Object {
		return
	}
	var m jsonscan.Members
	for m.Reset(value, depth); m.Next(); {
		if string(m.Key()) == "ip" {
			overwrite(m.Value(), mode)
		}
	}
}

// overwrite puts what is left of an address in its place. What is no address may hold one.
func overwrite(raw []byte, mode key.AddressMode) {
	left := `""`
	switch jsonscan.KindOf(raw) {
	case jsonscan.Null:
		return
	case jsonscan.Number:
		left = "0" // it may be one digit
	case jsonscan.String:
		a, err := netip.ParseAddr(string(bytes.TrimSpace(jsonscan.Unquote(nil, raw))))
		if err != nil {
			break
		}
		if a = mode.Hide(a); a.IsValid() {
			left = `"` + a.String() + `"`
		}
		if len(left) > len(raw) { // no form of an address is shorter than its network
			left = `""`
		}
	}
	for n := copy(raw, left); n < len(raw); n++ {
		raw[n] = ' '
	}
}
