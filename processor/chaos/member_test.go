package chaos_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/processor"
	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

const (
	// attemptTimeout is of one transaction. A reply later than that is one of the faults.
	attemptTimeout = time.Second
	sessionTimeout = 2 * time.Second
	stopTimeout    = 20 * time.Second
)

// config is a processor's: the whole role, with batches that are many and waits that are short.
func config(name, dsn string, seeds []string) processor.Config {
	cfg := processor.DefaultConfig()
	cfg.Instance, cfg.DSN, cfg.Brokers, cfg.MaxConns = name, dsn, seeds, 8
	c := &cfg.Consume
	c.BatchRecords, c.QueueRecords = 40, 1000
	c.RetryMin, c.RetryMax = time.Millisecond, 100*time.Millisecond
	// So that owners fight: a fenced worker claims back before the group has settled whose the partition is.
	c.FenceWait, c.BackfillWait, c.CommitEvery = 50*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
	c.RevokeTimeout, c.SessionTimeout, c.TenantTTL = 2*time.Second, sessionTimeout, time.Second
	cfg.Store.Timeout, cfg.Store.Recheck = attemptTimeout, 2*time.Second
	cfg.Outbox.RetryMin, cfg.Outbox.RetryMax = time.Millisecond, 100*time.Millisecond
	return cfg
}

// member is one processor of the group, behind a proxy of its own to the state store: in this process,
// or a child that dies by kill -9.
type member struct {
	c     *campaign
	name  string
	proxy *faultproxy.Proxy

	processor *processor.Processor // in this process; nil: it has left
	child     *child               // nil: it is none

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	step  class // where the child is to die; empty: nowhere
	after int   // how many times it comes there before
	fired bool
}

func (c *campaign) newMember(name string) *member {
	c.t.Helper()
	proxy, err := faultproxy.Start(c.dsn)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(proxy.Close)
	m := &member{c: c, name: name, proxy: proxy, rng: rand.New(rand.NewPCG(c.seed, uint64(len(c.members)+10)))}
	proxy.Set(m.decide)
	c.members = append(c.members, m)
	return m
}

// errorLog is for what nobody expects, whatever is injected.
func errorLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// join starts the member in this process.
func (m *member) join() {
	m.c.t.Helper()
	p, err := processor.New(config(m.name, m.proxy.DSN(), m.c.broker.ListenAddrs()), errorLog(), prometheus.NewRegistry())
	if err != nil {
		m.c.t.Fatal(err)
	}
	if err := p.Start(m.c.t.Context()); err != nil {
		m.c.t.Fatal(err)
	}
	m.processor = p
}

// leave stops the member; at once: it drops what it has begun.
func (m *member) leave(atOnce bool) {
	m.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if atOnce {
		cancel()
	}
	if err := m.processor.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		m.c.t.Error(err)
	}
	if err := m.processor.Err(); err != nil {
		m.c.t.Errorf("%s met what only a person can mend: %v", m.name, err)
	}
	m.processor = nil
}

// statement kinds are told by what they do to which table.
var (
	writes = regexp.MustCompile(`^(insert into|update|delete from) (\w+)`)
	joins  = regexp.MustCompile(`from unnest\(.*?\bjoin (\w+)`)
	reads  = regexp.MustCompile(`\bfrom (\w+)`)
	kinds  sync.Map // of statements seen
)

func kindOf(statement string) string {
	if k, ok := kinds.Load(statement); ok {
		return k.(string)
	}
	kind := statement
	if m := writes.FindString(statement); m != "" {
		kind = m
	} else if m := joins.FindStringSubmatch(statement); m != nil {
		kind = "select " + m[1]
	} else if m := reads.FindStringSubmatch(statement); m != nil {
		kind = "select " + m[1]
	} else if len(kind) > 20 || kind == "rollback" || kind == "-- ping" {
		kind = "" // a session's set-up; a rollback, which has nobody to tell
	}
	if len(kind) > 5 && kind[:5] == "begin" {
		kind = "begin"
	}
	kinds.Store(statement, kind)
	return kind
}

// decide is asked for every statement of the member.
func (m *member) decide(statement string) faultproxy.Fault {
	kind := kindOf(statement)
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, now := m.die(kind); now {
		return f
	}
	if !m.c.storeFaults.Load() || kind == "" {
		return faultproxy.Fault{}
	}
	x, f := m.pick(kind)
	m.c.tally.statement(kind, x, f.Action != faultproxy.Pass)
	return f
}

// What is to happen to how many of ten thousand statements.
var (
	atStatement = []share{{retryStatement, 180}, {deadlocked, 60}, {cutBefore, 40}, {cutAfter, 40}, {refused, 40}, {slow, 60}, {tooSlow, 3}}
	atCommit    = []share{{retryCommit, 400}, {deadlocked, 100}, {ambiguousDone, 250}, {ambiguousUndone, 250}, {cutBeforeCommit, 150},
		{cutAfterCommit, 150}, {refused, 50}, {slow, 60}, {tooSlow, 20}}
)

type share struct {
	class
	of10000 float64
}

// pick throws the dice. The caller holds mu.
func (m *member) pick(kind string) (class, faultproxy.Fault) {
	shares := atStatement
	if kind == "commit" {
		shares = atCommit
	}
	x := m.rng.Float64() * 10_000 / m.c.rate
	for _, s := range shares {
		if x -= s.of10000; x < 0 {
			return s.class, m.fault(s.class)
		}
	}
	return "", faultproxy.Fault{}
}

func (m *member) fault(c class) faultproxy.Fault {
	refuse := func(code string) faultproxy.Fault { return faultproxy.Fault{Action: faultproxy.Refuse, Code: code} }
	switch c {
	case retryStatement, retryCommit:
		return faultproxy.Retry()
	case deadlocked:
		return refuse("40P01")
	case ambiguousDone, ambiguousUndone:
		return faultproxy.Ambiguous(c == ambiguousDone)
	case cutBefore, cutBeforeCommit:
		return faultproxy.Fault{Action: faultproxy.CutBefore}
	case cutAfter, cutAfterCommit:
		return faultproxy.Fault{Action: faultproxy.CutAfter}
	case slow:
		return faultproxy.Slow(time.Duration(1+m.rng.IntN(50)) * time.Millisecond)
	case tooSlow:
		return faultproxy.Slow(attemptTimeout + time.Duration(m.rng.IntN(500))*time.Millisecond)
	}
	return refuse([]string{"57P01", "53200", "08006"}[m.rng.IntN(3)])
}

// die kills the child where that is due. It is dead before the statement goes on: one that is then
// done was committed by nobody alive. The caller holds mu.
func (m *member) die(kind string) (faultproxy.Fault, bool) {
	f := faultproxy.Fault{Action: faultproxy.CutBefore}
	at := ""
	switch m.step {
	case killMid:
		at = "insert into outbox"
	case killBeforeCommit:
		at = "commit"
	case killAfterCommit:
		at, f.Action = "commit", faultproxy.CutAfter
	case killBeforeDelete:
		at = "delete from outbox"
	case killAfterDelete:
		at, f.Action = "delete from outbox", faultproxy.CutAfter
	}
	if at == "" || at != kind || m.fired || m.child == nil {
		return faultproxy.Fault{}, false
	}
	if m.after--; m.after >= 0 {
		return faultproxy.Fault{}, false
	}
	m.fired = true
	m.child.process.Signal(syscall.SIGKILL)
	return f, true
}
