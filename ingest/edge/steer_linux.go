package edge

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// steer makes one of the listeners that share a port (SO_REUSEPORT) get all new connections: the
// index-th in the order they came. An index nobody has leaves the choice to the kernel, as before.
//
// The kernel gives every listener a queue of its own and resets what is in it when that listener is
// closed, also with others on the port. So the one that leaves must get none for a while before.
func steer(l net.Listener, index uint32) error {
	tcp, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("steer connections: %T has no socket", l)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("steer connections: %w", err)
	}
	program := unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: index}}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("steer connections: %w", err)
	}
	return nil
}
