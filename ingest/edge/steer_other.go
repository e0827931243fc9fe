//go:build !linux

package edge

import (
	"errors"
	"net"
)

// steer exists on Linux only. Elsewhere a connection may be lost when one of several edges leaves.
func steer(net.Listener, uint32) error { return errors.ErrUnsupported }
