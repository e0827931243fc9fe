package sink

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
)

var errInjected = errors.New("injected")

// faults make inserts fail on demand, of all connections.
type faults struct {
	mu sync.Mutex
	// They are asked before and after an insert's last byte is sent; an error fails it there. After:
	// the server has it, and the answer is lost.
	before, after func(table string) error
}

// faultyConn is a connection that they break.
type faultyConn struct {
	driver.Conn
	*faults
}

func (c faultyConn) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	b, err := c.Conn.PrepareBatch(ctx, query, opts...)
	if err != nil {
		return nil, err
	}
	table := strings.TrimSuffix(strings.Fields(query)[2], schema.LocalSuffix)
	return &faultyBatch{Batch: b, conn: c, table: table}, nil
}

func (c *faults) ask(when func(string) error, table string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if when == nil {
		return nil
	}
	return when(table)
}

type faultyBatch struct {
	driver.Batch
	conn  faultyConn
	table string
}

func (b *faultyBatch) Send() error {
	if err := b.conn.ask(b.conn.before, b.table); err != nil {
		return err
	}
	if err := b.Batch.Send(); err != nil {
		return err
	}
	return b.conn.ask(b.conn.after, b.table)
}

// broken makes a sink's inserts fail as f says.
func (r *rig) broken(f *faults) func(*Sink) {
	servers := r.servers(r.dsn)
	servers.Wrap(func(c driver.Conn) driver.Conn { return faultyConn{c, f} })
	return through(servers)
}

// through makes a sink write to other servers.
func through(servers *shard.Servers) func(*Sink) {
	return func(s *Sink) { s.servers, s.insert.servers, s.others.servers = servers, servers, servers }
}

// proxy passes TCP on to a server, and can be cut off.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	off   bool
	conns []net.Conn
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to}
	var running sync.WaitGroup
	running.Go(func() { p.serve(&running) })
	t.Cleanup(func() {
		_ = l.Close()
		p.cut(true)
		running.Wait()
	})
	return p
}

func (p *proxy) serve(running *sync.WaitGroup) {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil || !p.keep(in, out) {
			_ = in.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			running.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

// cut ends all connections and, while off, takes no new ones.
func (p *proxy) cut(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = off
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
