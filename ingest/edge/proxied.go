package edge

import (
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxied is a connection whose first bytes say for whom it is (the PROXY protocol, version 1 or 2),
// if it comes from a network that must say so. Anybody else's connection is what it seems, and a
// PROXY header on it is not HTTP. From those networks the header is required: were it optional, a
// client of theirs that got through without one could write its own.
//
// The header is read with the first request, by the connection's own goroutine.
func proxied(c net.Conn, from []netip.Prefix, within time.Duration) net.Conn {
	if len(from) == 0 {
		return c
	}
	peer, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !contains(from, peer.AddrPort().Addr().Unmap().WithZone("")) {
		return c
	}
	return proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(within))
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
