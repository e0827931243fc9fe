package key

import (
	"net/netip"

	"github.com/keystone-cdp/keystone/internal/event"
)

// AddressMode is what becomes of a visitor's address.
type AddressMode uint8

// The modes, as in a tenant's settings.
const (
	Full AddressMode = iota
	Truncate
	Drop
)

// addressMode reads the setting. What a newer version may mean is taken for the strictest.
func addressMode(setting string) AddressMode {
	switch setting {
	case "", event.IPFull:
		return Full
	case event.IPTruncate:
		return Truncate
	}
	return Drop
}

// Hide is what may be written of an address; the zero Addr is nothing.
func (m AddressMode) Hide(a netip.Addr) netip.Addr {
	switch m {
	case Full:
		return a
	case Truncate:
		return event.TruncateAddress(a)
	}
	return netip.Addr{}
}
