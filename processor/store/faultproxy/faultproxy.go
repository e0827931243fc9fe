// Package faultproxy stands between pgx and PostgreSQL, for tests, and makes transactions end the way
// they end on CockroachDB and on bad networks: retry errors in the middle and at COMMIT, commits of
// unknown outcome, connections that are cut, a server that is gone for a while.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Action is what happens to a statement.
type Action int

// The actions. At a COMMIT, "not done" means that the transaction is rolled back.
const (
	Pass        Action = iota
	Refuse             // not done; an error is the answer
	RefuseAfter        // done; an error is the answer all the same
	CutBefore          // not done; the connection is cut
	CutAfter           // done; the connection is cut before the answer
	Delay              // done; the answer comes late
)

// Fault is an action and, where the answer is an error, its SQLSTATE; where it is late, by how much.
type Fault struct {
	Action Action
	Code   string
	Late   time.Duration
}

// Retry is a serialization failure.
func Retry() Fault { return Fault{Action: Refuse, Code: "40001"} }

// Slow is an answer that comes late.
func Slow(by time.Duration) Fault { return Fault{Action: Delay, Late: by} }

// Ambiguous is what CockroachDB says when it cannot tell whether a COMMIT happened.
func Ambiguous(happened bool) Fault {
	if happened {
		return Fault{Action: RefuseAfter, Code: "40003"}
	}
	return Fault{Action: Refuse, Code: "40003"}
}

// Decide is asked for every statement, in lower case and with single spaces. It is called from many
// goroutines.
type Decide func(statement string) Fault

// Proxy is one listener in front of one server.
type Proxy struct {
	backend string
	dsn     *url.URL
	decide  atomic.Pointer[Decide]
	faults  atomic.Int64
	trips   atomic.Int64
	down    atomic.Bool
	closing chan struct{}
	ln      net.Listener
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // of clients; nil once closed
}

// Start listens on loopback in front of the server dsn points at. Nothing goes wrong until Set.
func Start(dsn string) (*Proxy, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("read DSN: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{backend: u.Host, dsn: u, ln: ln, closing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.dsn.Host = ln.Addr().String()
	p.Set(func(string) Fault { return Fault{} })
	p.wg.Go(p.accept)
	return p, nil
}

// DSN is the way to the server through the proxy.
func (p *Proxy) DSN() string { return p.dsn.String() }

// Set replaces what decides about faults.
func (p *Proxy) Set(d Decide) { p.decide.Store(&d) }

// Faults is how many statements did not pass.
func (p *Proxy) Faults() int64 { return p.faults.Load() }

// RoundTrips is how many requests were answered.
func (p *Proxy) RoundTrips() int64 { return p.trips.Load() }

// Down cuts all connections and refuses new ones, until Up.
func (p *Proxy) Down() {
	p.down.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Up ends Down.
func (p *Proxy) Up() { p.down.Store(false) }

// Close cuts all connections and waits for the proxy's goroutines.
func (p *Proxy) Close() {
	p.Down()
	close(p.closing)
	_ = p.ln.Close()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[c] = struct{}{}
		p.mu.Unlock()
		if p.down.Load() {
			_ = c.Close()
		}
		p.wg.Go(func() {
			defer func() {
				p.mu.Lock()
				delete(p.conns, c)
				p.mu.Unlock()
				_ = c.Close()
			}()
			_ = p.serve(c) // whatever ends a connection is what the client sees
		})
	}
}

// once makes one fault at the n-th statement that starts with prefix.
type once struct {
	mu   sync.Mutex
	left int
}

// Once applies f to the n-th statement that starts with prefix, counted from now.
func Once(n int, prefix string, f Fault) Decide {
	o := &once{left: n}
	return func(statement string) Fault {
		if !strings.HasPrefix(statement, prefix) {
			return Fault{}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.left--; o.left == 0 {
			return f
		}
		return Fault{}
	}
}

var errCut = errors.New("cut")

// session is one connection. It is half duplex: a request, to its Sync or one Query, is answered in
// full before the next is read. A pgx batch is one request.
type session struct {
	proxy      *Proxy
	client     *pgproto3.Backend
	server     *pgproto3.Frontend
	statements map[string]string // by name
	portals    map[string]string
	status     byte // of the transaction, as the client knows it
}

func (p *Proxy) serve(client net.Conn) error {
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.backend)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	s := &session{proxy: p, client: pgproto3.NewBackend(client, client), server: pgproto3.NewFrontend(server, server),
		statements: map[string]string{}, portals: map[string]string{}, status: 'I'}
	if err := s.startup(client, server); err != nil {
		return err
	}
	for {
		if err := s.request(); err != nil {
			return err
		}
	}
}

// startup passes the handshake on, whatever way of authentication it takes.
func (s *session) startup(client, server net.Conn) error {
	start, err := s.client.ReceiveStartupMessage()
	for ; err == nil; start, err = s.client.ReceiveStartupMessage() {
		_, ssl := start.(*pgproto3.SSLRequest)
		_, gss := start.(*pgproto3.GSSEncRequest)
		if !ssl && !gss {
			break
		}
		if _, err := client.Write([]byte("N")); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if cancel, ok := start.(*pgproto3.CancelRequest); ok {
		b, err := cancel.Encode(nil)
		if err == nil {
			_, err = server.Write(b)
		}
		return errors.Join(err, io.EOF)
	}
	s.server.Send(start)
	if err := s.server.Flush(); err != nil {
		return err
	}
	for {
		m, err := s.server.Receive()
		if err != nil {
			return err
		}
		s.client.Send(m)
		if err := s.client.Flush(); err != nil {
			return err
		}
		if _, ready := m.(*pgproto3.ReadyForQuery); ready {
			return nil
		}
		if err := s.authenticate(m); err != nil {
			return err
		}
	}
}

func (s *session) authenticate(asked pgproto3.BackendMessage) error {
	var kind uint32
	switch asked.(type) {
	case *pgproto3.AuthenticationCleartextPassword:
		kind = pgproto3.AuthTypeCleartextPassword
	case *pgproto3.AuthenticationMD5Password:
		kind = pgproto3.AuthTypeMD5Password
	case *pgproto3.AuthenticationSASL:
		kind = pgproto3.AuthTypeSASL
	case *pgproto3.AuthenticationSASLContinue:
		kind = pgproto3.AuthTypeSASLContinue
	default:
		return nil
	}
	if err := s.client.SetAuthType(kind); err != nil {
		return err
	}
	m, err := s.client.Receive()
	if err != nil {
		return err
	}
	s.server.Send(m)
	return s.server.Flush()
}
