package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenShared listens on an address that other processes may listen on as well (SO_REUSEPORT): a
// new edge takes connections before the old one has stopped.
func listenShared(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, set)
	}}
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// listener bounds the connections and knows them, so that Stop can close those that do not end.
type listener struct {
	net.Listener
	cfg     Config
	metrics *metrics

	mu    sync.Mutex
	conns map[*conn]struct{}
	gone  *sync.Cond // a connection has been closed

	leaving  atomic.Bool
	steering uint32 // which of the port's listeners is to get new connections; under mu
}

type conn struct {
	net.Conn
	l        *listener
	once     sync.Once
	reads    deadline
	writes   deadline
	timedOut atomic.Bool
}

// Read notes a deadline that has passed: not all readers above hand that error through.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if t, early := c.reads.early(time.Now()); !early {
			c.timedOut.Store(true)
			return n, err
		} else if err := c.Conn.SetReadDeadline(t); err != nil || n > 0 {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
		t, early := c.writes.early(time.Now())
		if !early {
			return written, err
		}
		if err := c.Conn.SetWriteDeadline(t); err != nil {
			return written, err
		}
	}
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if !c.reads.set(t) {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if !c.writes.set(t) {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func timedOut(c net.Conn) bool {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	own, ok := c.(*conn)
	return ok && own.timedOut.Load()
}

func newListener(l net.Listener, cfg Config, m *metrics) *listener {
	out := &listener{Listener: l, cfg: cfg, metrics: m, conns: map[*conn]struct{}{}}
	out.gone = sync.NewCond(&out.mu)
	return out
}

const fullAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 73\r\n\r\n" +
	`{"error":{"code":"unavailable","message":"too many connections; retry"}}` + "\n"

// Accept refuses connections beyond the limit with an answer, not with silence.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.leaving.Load() {
			l.leave()
		}
		wrapped := &conn{Conn: proxied(c, l.cfg.ProxyProtocol, l.cfg.ReadTimeout), l: l}
		l.mu.Lock()
		full := len(l.conns) >= l.cfg.MaxConns
		if !full {
			l.conns[wrapped] = struct{}{}
		}
		l.mu.Unlock()
		if !full {
			return wrapped, nil
		}
		l.metrics.refusedConns.Inc()
		if l.cfg.TLSCert == "" { // who expects TLS cannot read it
			_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a fresh socket's buffer takes it at once
			_, _ = c.Write([]byte(fullAnswer))
		}
		_ = c.Close()
	}
}

// Close forgets the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.l.mu.Lock()
		delete(c.l.conns, c)
		c.l.mu.Unlock()
		c.l.gone.Broadcast()
	})
	return err
}

// leave sends new connections to another edge on the same port, if there is one. In an old and a new
// one the old is the first, so the first try is the second; each connection that comes here all the
// same turns it over. That finds the other also when it is the new one that leaves.
func (l *listener) leave() {
	l.leaving.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steering ^= 1
	_ = steer(l.Listener, l.steering) // where it cannot be done the kernel goes on choosing
}

// closeAll closes what is open; reads and writes under way end with an error.
func (l *listener) closeAll() {
	_ = l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
}

// wait returns when the server has let go of all connections.
func (l *listener) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.conns) > 0 {
		l.gone.Wait()
	}
}

func (l *listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}
