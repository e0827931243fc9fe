package edge

import (
	"context"
	"time"
)

// Drain makes the server unready and then gives those that send here DrainDelay to go elsewhere:
// load balancers see /readyz, keep-alive clients are told to close after their next answer, and of
// several edges on one port the kernel picks another for new connections. All is still accepted and
// served meanwhile. Without that, a request sent at the moment its connection is closed would fail,
// and its sender could not know whether it counts.
//
// Only the first call waits. Stop begins with it; who shares Stop's time among parts calls it before.
func (s *Server) Drain(ctx context.Context) {
	if s.stopping.Swap(true) || s.listener == nil || s.cfg.DrainDelay <= 0 {
		return
	}
	if s.cfg.ReusePort {
		s.listener.leave()
	}
	select {
	case <-time.After(s.cfg.DrainDelay):
	case <-ctx.Done():
	}
}
