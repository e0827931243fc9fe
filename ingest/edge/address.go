package edge

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"
)

// clientAddress is who sent the request: the connection's other end (or whom the PROXY protocol names
// in its place), or, if that is a trusted proxy, the last address in X-Forwarded-For that is none. The
// zero Addr: nobody knows.
func (s *Server) clientAddress(ctx *fasthttp.RequestCtx) netip.Addr {
	tcp, ok := ctx.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	if addr.IsUnspecified() {
		return netip.Addr{} // a PROXY header that does not say
	}
	if !s.trusted(addr) {
		return addr
	}
	lines := ctx.Request.Header.PeekAll(fasthttp.HeaderXForwardedFor)
	for i := len(lines) - 1; i >= 0; i-- {
		for hops := lines[i]; len(hops) > 0; {
			comma := bytes.LastIndexByte(hops, ',')
			hop, err := netip.ParseAddr(string(bytes.TrimSpace(hops[comma+1:])))
			if err != nil {
				return addr // what stands left of it is anybody's invention
			}
			if addr = hop.Unmap().WithZone(""); !s.trusted(addr) {
				return addr
			}
			hops = hops[:max(comma, 0)]
		}
	}
	return addr
}

func (s *Server) trusted(a netip.Addr) bool { return contains(s.cfg.TrustedProxies, a) }
