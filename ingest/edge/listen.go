package edge

import (
	"net"
	"sync"
	"time"
)

// listener bounds the connections and knows them, so that Stop can close those that do not end.
type listener struct {
	net.Listener
	max     int
	metrics *metrics

	mu    sync.Mutex
	conns map[*conn]struct{}
	gone  *sync.Cond // a connection has been closed
}

type conn struct {
	net.Conn
	l    *listener
	once sync.Once
}

func newListener(l net.Listener, limit int, m *metrics) *listener {
	out := &listener{Listener: l, max: limit, metrics: m, conns: map[*conn]struct{}{}}
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
		wrapped := &conn{Conn: c, l: l}
		l.mu.Lock()
		full := len(l.conns) >= l.max
		if !full {
			l.conns[wrapped] = struct{}{}
		}
		l.mu.Unlock()
		if !full {
			return wrapped, nil
		}
		l.metrics.refusedConns.Inc()
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a fresh socket's buffer takes it at once
		_, _ = c.Write([]byte(fullAnswer))
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
