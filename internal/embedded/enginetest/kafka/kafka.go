// Package kafka runs a real Apache Kafka for tests: one KRaft node, broker and
// controller in one process, on loopback and free ports, from the jars that
// "make kafka" installs. `keystone dev` has no use for it (package broker).
//
// Everything a client notices is as Kafka ships it, but for what only costs a
// test time (see settings). Whoever calls Start calls Stop; the process dies
// with this one, also by kill -9.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	readyPoll    = 20 * time.Millisecond
	probeTimeout = 2 * time.Second
	// stopTimeout is for what Kafka does before it ends: seconds at most, as nobody takes its partitions over.
	stopTimeout = time.Minute
)

// Server is one node on one data folder. It keeps its address over restarts.
// Its methods are not to be called at the same time.
type Server struct {
	dir    string // its own folder; made by the first Start
	java   string
	jars   string
	port   int
	output *embedded.Tail
	child  *embedded.Child // nil when not running
}

// New settles the address; it starts nothing. The error is an
// embedded.ErrNotInstalled where Java or the jars are absent.
func New(dir string) (*Server, error) {
	s := &Server{dir: dir, output: &embedded.Tail{}}
	var err error
	if s.java, s.jars, err = locate(); err != nil {
		return nil, err
	}
	if s.port, err = embedded.FreePort(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addrs are the seeds for a client.
func (s *Server) Addrs() []string { return []string{address(s.port)} }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Start returns when the node answers. The first start formats the folder. A
// started server is left alone.
func (s *Server) Start(ctx context.Context) error {
	if s.child != nil {
		return nil
	}
	if err := s.format(ctx); err != nil {
		return fmt.Errorf("format kafka's folder: %w", err)
	}
	child, err := s.launch("kafka.Kafka", s.settingsPath())
	if err != nil {
		return err
	}
	if err := s.waitReady(ctx, child); err != nil {
		child.Signal(syscall.SIGKILL)
		<-child.Done()
		return fmt.Errorf("start kafka: %w: %s", err, s.output)
	}
	s.child = child
	return nil
}

// format lays the folder out, once.
func (s *Server) format(ctx context.Context) error {
	if _, err := os.Stat(s.settingsPath()); err == nil {
		return nil
	}
	controller, err := embedded.FreePort()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(s.settingsPath(), settings(s.dir, s.port, controller), 0o600); err != nil {
		return err
	}
	child, err := s.launch("kafka.tools.StorageTool", "format", "--cluster-id", clusterID, "--config", s.settingsPath())
	if err != nil {
		return err
	}
	if !child.Ended(ctx) {
		child.Signal(syscall.SIGKILL)
		<-child.Done()
		return ctx.Err()
	}
	if child.Err() != nil {
		return fmt.Errorf("%w: %s", child.Err(), s.output)
	}
	return nil
}

func (s *Server) launch(class string, args ...string) (*embedded.Child, error) {
	cmd := embedded.Command(s.java, append(append(javaFlags(), "-cp", filepath.Join(s.jars, "*"), class), args...)...)
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = s.output, s.output
	return embedded.StartChild(cmd, syscall.SIGKILL)
}

// waitReady returns once the node tells of itself: before, it is still fenced
// and gets no partitions.
func (s *Server) waitReady(ctx context.Context, child *embedded.Child) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addrs()...), kgo.RetryTimeout(probeTimeout))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		metadata, err := admin.BrokerMetadata(probe)
		cancel()
		if err == nil && len(metadata.Brokers) == 1 {
			return nil
		}
		select {
		case <-child.Done():
			return errors.Join(errors.New("it ended"), child.Err())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop shuts the node down in order, by SIGKILL if that takes too long. A
// stopped server is left alone.
func (s *Server) Stop(ctx context.Context) error {
	if s.child == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	s.child.Signal(syscall.SIGTERM)
	ended := s.child.Ended(ctx)
	s.Kill()
	if !ended {
		return errors.New("kafka did not end on SIGTERM")
	}
	return nil
}

// Kill is kill -9: what clients were promised is in the page cache.
func (s *Server) Kill() {
	if s.child == nil {
		return
	}
	s.child.Signal(syscall.SIGKILL)
	<-s.child.Done()
	s.child = nil
}

// Hold makes the node stand still until release is called: connections stay,
// the kernel takes requests in, and nobody answers.
func (s *Server) Hold(ctx context.Context) (release func(), err error) {
	child := s.child
	child.Signal(syscall.SIGSTOP)
	for !still(child.Pid()) { // threads stop one by one, and one that has not may yet answer
		if ctx.Err() != nil {
			return nil, fmt.Errorf("hold kafka: %w", ctx.Err())
		}
	}
	return func() { child.Signal(syscall.SIGCONT) }, nil
}

// still tells whether all threads of the process are stopped.
func still(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it ended meanwhile
		}
		if _, afterName, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(afterName, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// Pid is the process's id; 0 when it is not running.
func (s *Server) Pid() int {
	if s.child == nil {
		return 0
	}
	return s.child.Pid()
}

func (s *Server) settingsPath() string { return filepath.Join(s.dir, "server.properties") }
