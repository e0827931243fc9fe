package event

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// What becomes of the addresses of a tenant's visitors (Settings.IP). Empty is IPFull.
const (
	IPFull     = "full"
	IPTruncate = "truncate" // to the network: /24 of IPv4, /48 of IPv6
	IPDrop     = "drop"
)

// The lists of Settings.Blocked.
const (
	BlockedIPs          = "ips"           // addresses and networks
	BlockedUserAgents   = "user_agents"   // parts of user agents; case does not matter
	BlockedEventNames   = "event_names"   // whole names
	BlockedAnonymousIDs = "anonymous_ids" // whole ids
)

// Bounds of a blocklist. A part of a user agent that is too short names everybody's.
const (
	MaxBlocked        = 1000 // entries of a list
	MaxBlockedBytes   = 256  // of an entry
	MinBlockedAgent   = 3    // bytes
	truncateIPv4Bits  = 24
	truncateIPv6Bits  = 48
	fewestNetworkBits = 4 // of a blocked network: less is half of the internet, and a slip
)

// TruncateAddress is the network an address is in, as IPTruncate keeps it.
func TruncateAddress(a netip.Addr) netip.Addr {
	bits := truncateIPv6Bits
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = truncateIPv4Bits
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Addr{} // the zero Addr is no address, before and after
	}
	return p.Addr()
}

// ParseBlockedNetwork reads an entry of the list of addresses: a network, or one address.
func ParseBlockedNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errors.New("no address or network like 203.0.113.0/24")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, errors.New("no address or network like 203.0.113.0/24")
	case p.Addr().Is4In6():
		return p, errors.New("an IPv4 network is written as such")
	case p.Bits() < fewestNetworkBits:
		return p, fmt.Errorf("networks wider than /%d are not blocked", fewestNetworkBits)
	}
	return p.Masked(), nil
}

// privacyErrors are the broken rules of IP and Blocked.
func (s *Settings) privacyErrors() (errs []error) {
	if s.IP != "" && s.IP != IPFull && s.IP != IPTruncate && s.IP != IPDrop {
		errs = append(errs, fmt.Errorf("ip must be full, truncate or drop, not %q", s.IP))
	}
	for name, list := range s.Blocked {
		if name != BlockedIPs && name != BlockedUserAgents && name != BlockedEventNames && name != BlockedAnonymousIDs {
			errs = append(errs, fmt.Errorf("blocked.%s: no such list", name))
			continue
		}
		if len(list) > MaxBlocked {
			errs = append(errs, fmt.Errorf("blocked.%s may have at most %d entries", name, MaxBlocked))
		}
		for _, entry := range list {
			if err := blockedEntry(name, entry); err != nil {
				errs = append(errs, fmt.Errorf("blocked.%s: %q: %w", name, entry, err))
			}
		}
	}
	return errs
}

func blockedEntry(list, entry string) error {
	least := 1
	if list == BlockedUserAgents {
		least = MinBlockedAgent
	}
	if len(entry) < least || len(entry) > MaxBlockedBytes {
		return fmt.Errorf("must have %d to %d bytes", least, MaxBlockedBytes)
	}
	if strings.TrimSpace(entry) != entry {
		return errors.New("must not begin or end with white space")
	}
	if list == BlockedIPs {
		_, err := ParseBlockedNetwork(entry)
		return err
	}
	return nil
}
