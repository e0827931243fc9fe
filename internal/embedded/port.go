package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrPortInUse says that somebody else listens on the wanted port.
var ErrPortInUse = errors.New("in use by another program")

// firstPort is where the search for a free port begins: below are the ports of known services.
const firstPort = 16 << 10

// FreePort finds a loopback TCP port nobody uses, below those the kernel gives to outgoing
// connections: one of theirs would be taken again and again between two starts, or between this
// answer and the server's listening.
func FreePort() (int, error) {
	n := max(ephemeralStart()-firstPort, 1024)
	for range 100 {
		port := firstPort + rand.N(n)
		if err := CheckPort(port); err == nil {
			return port, nil
		} else if !errors.Is(err, ErrPortInUse) {
			return 0, fmt.Errorf("find free port: %w", err)
		}
	}
	return 0, fmt.Errorf("find free port: all that were tried from %d to %d are %w", firstPort, firstPort+n-1, ErrPortInUse)
}

// ephemeralStart is the first port of outgoing connections (ip(7), ip_local_port_range).
func ephemeralStart() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		return usual
	}
	return first
}

// CheckPort reports a loopback port that cannot be listened on. The error is
// an ErrPortInUse when somebody else has it.
func CheckPort(port int) error {
	forkOnce()
	// A child that is being started has a copy of every descriptor until it runs its program: the
	// port would stay taken beyond Close.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := listen(port)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %d is %w", port, ErrPortInUse)
		}
		return fmt.Errorf("use port %d: %w", port, err)
	}
	return l.Close()
}

// forkOnce has package os find out what process descriptors can do. It does so at the first use of a
// process, by a fork that does not take ForkLock.
var forkOnce = sync.OnceFunc(func() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Release() // was not waited for
	}
})

// listen takes a loopback port, 0 for any.
func listen(port int) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// ChoosePort settles on a port and writes it to memo, so that the next start
// finds the same one and saved addresses stay right. An explicit port must be
// free. With 0 it is the port of the last start if still free, else a new one.
func ChoosePort(explicit int, memo string) (int, error) {
	port := explicit
	if port != 0 {
		if err := CheckPort(port); err != nil {
			return 0, err
		}
	} else if port = readPort(memo); port == 0 || CheckPort(port) != nil {
		var err error
		if port, err = FreePort(); err != nil {
			return 0, err
		}
	}
	if err := WriteFile(memo, []byte(strconv.Itoa(port)+"\n")); err != nil {
		return 0, fmt.Errorf("remember port: %w", err)
	}
	return port, nil
}

// readPort gives the remembered port, 0 when there is none to be read.
func readPort(memo string) int {
	data, err := os.ReadFile(memo)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || !ValidPort(port) {
		return 0
	}
	return port
}

// ValidPort says whether a server may listen on the port; 0 is not one.
func ValidPort(port int) bool { return port > 0 && port < 1<<16 }
