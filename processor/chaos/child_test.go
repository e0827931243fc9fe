package chaos_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/processor"
)

// child is a processor in a process of its own.
type child struct {
	process *embedded.Child
	stdin   io.Closer // closed: it is to leave
	output  *bytes.Buffer
	paused  time.Time // SIGSTOP; zero: it runs
}

// orders are what a child is told.
type orders struct {
	Name, DSN string
	Seeds     []string
	Step      class // where to kill itself, of what only it sees; empty: nowhere
	After     int
}

const ordersVariable = "KEYSTONE_TEST_CHAOS_CHILD"

// spawn starts the member as a child that dies at a step.
func (m *member) spawn(step class, after int) {
	m.c.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		m.c.t.Fatal(err)
	}
	o := orders{Name: m.name, DSN: m.proxy.DSN(), Seeds: m.c.broker.ListenAddrs(), Step: step, After: after}
	text, err := json.Marshal(o)
	if err != nil {
		m.c.t.Fatal(err)
	}
	cmd := embedded.Command(binary, "-test.run=^TestChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), ordersVariable+"="+string(text))
	in, out, err := os.Pipe()
	if err != nil {
		m.c.t.Fatal(err)
	}
	x := &child{stdin: out, output: &bytes.Buffer{}}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, x.output, x.output
	m.mu.Lock()
	defer m.mu.Unlock()
	if x.process, err = embedded.StartChild(cmd, syscall.SIGKILL); err != nil {
		m.c.t.Fatal(err)
	}
	_ = in.Close()
	m.child, m.step, m.after, m.fired = x, step, after, false
}

// buried takes note of a child's death, which must be the one that was planned.
func (m *member) buried() {
	m.c.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.child
	m.child = nil
	_ = x.stdin.Close()
	if x.process.ExitCode() != -1 {
		m.c.t.Fatalf("%s ended by itself: %v\n%s", m.name, x.process.Err(), x.output)
	}
	m.c.tally.add(m.step)
}

// retire lets a child leave like any processor that is stopped.
func (m *member) retire() {
	m.c.t.Helper()
	m.mu.Lock()
	x := m.child
	m.step, m.child = "", nil
	m.mu.Unlock()
	_ = x.stdin.Close()
	<-x.process.Done()
	if x.process.ExitCode() == -1 {
		return // it died while it left
	}
	if err := x.process.Err(); err != nil {
		m.c.t.Errorf("%s: %v\n%s", m.name, err, x.output)
	}
}

// TestChild is a processor that TestChaos starts and kills.
func TestChild(t *testing.T) {
	text := os.Getenv(ordersVariable)
	if text == "" {
		t.Skip("run by TestChaos")
	}
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	cfg := config(o.Name, o.DSN, o.Seeds)
	cfg.Hooks = []kgo.Hook{&suicide{step: o.Step, after: o.After}}
	p, err := processor.New(cfg, errorLog(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	leave := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(leave)
	}()
	select {
	case <-leave:
	case <-p.Failed():
		t.Error(p.Err())
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) })()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// suicide is kill -9 at a step that only the processor's own client of the log can see.
type suicide struct {
	step  class
	mu    sync.Mutex
	after int
}

func (s *suicide) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		s.came(map[int16]class{int16(kmsg.Produce): killSent, int16(kmsg.OffsetCommit): killGroupSent}[key])
	}
}

func (s *suicide) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if e2e.Err() == nil {
		s.came(map[int16]class{int16(kmsg.Produce): killProduced, int16(kmsg.OffsetCommit): killGroupDone}[key])
	}
}

func (s *suicide) came(to class) {
	if to == "" || to != s.step {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after--; s.after < 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(fmt.Sprintf("kill: %v", err))
		}
		select {} // it takes effect before this goroutine goes on
	}
}
