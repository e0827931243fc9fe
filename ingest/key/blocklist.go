package key

import (
	"bytes"
	"net/netip"

	"github.com/keystone-cdp/keystone/internal/event"
)

// List is one of a tenant's blocklists.
type List uint8

// The blocklists. NotBlocked is none of them.
const (
	NotBlocked List = iota
	ByIP
	ByUserAgent
	ByEventName
	ByAnonymousID
	Lists
)

// ListNames are the lists' names in settings and metrics.
var ListNames = [Lists]string{"", event.BlockedIPs, event.BlockedUserAgents, event.BlockedEventNames, event.BlockedAnonymousIDs}

// Blocklist is what a tenant does not want, ready to be asked. It does not change.
type Blocklist struct {
	networks  []netip.Prefix
	agents    [][]byte // lower case
	names     map[string]struct{}
	anonymous map[string]struct{}
}

// newBlocklist is nil where nothing is blocked, so that most tenants pay one comparison.
func newBlocklist(s *event.Settings) *Blocklist {
	b := &Blocklist{names: set(s.Blocked[event.BlockedEventNames]), anonymous: set(s.Blocked[event.BlockedAnonymousIDs])}
	for _, text := range s.Blocked[event.BlockedIPs] {
		if p, err := event.ParseBlockedNetwork(text); err == nil { // Validate has seen it
			b.networks = append(b.networks, p)
		}
	}
	for _, text := range s.Blocked[event.BlockedUserAgents] {
		b.agents = append(b.agents, lower([]byte(text)))
	}
	if len(b.networks)+len(b.agents)+len(b.names)+len(b.anonymous) == 0 {
		return nil
	}
	return b
}

func set(list []string) map[string]struct{} {
	out := make(map[string]struct{}, len(list))
	for _, text := range list {
		out[text] = struct{}{}
	}
	return out
}

// lower is b in lower case, ASCII only, in memory of its own.
func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// Senders tells whether a list is about who sends, and not what.
func (b *Blocklist) Senders() bool { return len(b.networks)+len(b.agents) > 0 }

// Address tells whether an address is blocked.
func (b *Blocklist) Address(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range b.networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxAgent is how much of a user agent is looked at.
const maxAgent = 1 << 10

// Agent tells whether a user agent is blocked.
func (b *Blocklist) Agent(text []byte) bool {
	if len(b.agents) == 0 || len(text) == 0 {
		return false
	}
	small := lower(text[:min(len(text), maxAgent)])
	for _, part := range b.agents {
		if bytes.Contains(small, part) {
			return true
		}
	}
	return false
}

// EventName tells whether an event's name is blocked.
func (b *Blocklist) EventName(name []byte) bool {
	_, ok := b.names[string(name)]
	return ok
}

// AnonymousID tells whether a device is blocked.
func (b *Blocklist) AnonymousID(id string) bool {
	_, ok := b.anonymous[id]
	return ok
}
