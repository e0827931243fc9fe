package clickhouse

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	restartDelayMin = 200 * time.Millisecond
	restartDelayMax = 10 * time.Second
	// maxRestarts is how often in a row the engine is brought back; one that
	// stayed up for steadyAfter starts the count anew.
	maxRestarts = 8
	steadyAfter = time.Minute
)

// supervise owns the engine from its first start to the end of ctx: it brings
// it back when it dies, and ends it when told to. It runs as one goroutine,
// which Stop waits for.
func (s *Server) supervise(ctx context.Context, child *embedded.Child) {
	defer close(s.stopped)
	for failures := 0; ; {
		up := time.Now()
		if !child.Ended(ctx) {
			s.end(child)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(up) > steadyAfter {
			failures = 0
		}
		s.report(fmt.Errorf("clickhouse engine ended unexpectedly: %w", endOf(child)))
		if child = s.bringBack(ctx, &failures); child == nil {
			return
		}
	}
}

// bringBack restarts the engine, waiting longer every time it fails. It returns
// nil when ctx has ended or when it gave up.
func (s *Server) bringBack(ctx context.Context, failures *int) *embedded.Child {
	for {
		if *failures++; *failures > maxRestarts {
			s.log.Error("clickhouse given up", "attempts", maxRestarts)
			select {
			case s.failed <- fmt.Errorf("clickhouse engine did not come back in %d attempts", maxRestarts):
			default: // an earlier run's error was never read
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(restartDelayMin<<(*failures-1), restartDelayMax)):
		}
		child, err := s.startChild(ctx)
		if err == nil {
			s.mu.Lock()
			s.restarts++
			s.mu.Unlock()
			return child
		}
		if ctx.Err() != nil {
			return nil
		}
		s.report(fmt.Errorf("restart clickhouse: %w", err))
	}
}

func (s *Server) report(err error) {
	s.log.Error("clickhouse down", "error", err)
	if s.cfg.OnExit != nil {
		s.cfg.OnExit(err)
	}
}

// end asks the engine to leave and kills it when it does not.
func (s *Server) end(child *embedded.Child) {
	asked := time.Now()
	child.Signal(syscall.SIGTERM)
	select {
	case <-child.Done():
	case <-s.killed:
		child.Signal(syscall.SIGKILL)
		<-child.Done()
	case <-time.After(stopTimeout):
		s.log.Warn("clickhouse did not leave, killing it")
		child.Signal(syscall.SIGKILL)
		<-child.Done()
	}
	s.log.Info("clickhouse stopped", "took_ms", time.Since(asked).Milliseconds())
}
