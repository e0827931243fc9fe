package embedded

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

// Child is a running child process that does not outlive this one: the kernel
// sends it a signal when this process dies, also by kill -9.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; settled once done is closed
}

// Command is a command for StartChild: a program by its path. It takes no
// context, as a server is ended by the signals it understands.
func Command(path string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: path, Args: append([]string{path}, args...)}
}

// StartChild starts the command. onDeath is what the kernel sends it when this
// process dies. The caller must wait for Done.
func StartChild(cmd *exec.Cmd, onDeath syscall.Signal) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = onDeath
	// Out of our process group, so that a terminal's Ctrl-C reaches only us
	// and the engines are stopped last, in order.
	cmd.SysProcAttr.Setpgid = true

	c := &Child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ties the death signal to the thread that forked, not to
		// the process: that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := cmd.Start()
		started <- err
		if err != nil {
			c.err = err
			return
		}
		c.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-c.done
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Done is closed when the process has ended and its output is drained.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err is how the process ended: nil for exit status 0. Only after Done.
func (c *Child) Err() error { return c.err }

// ExitCode is the exit status, -1 for a death by signal. Only after Done.
func (c *Child) ExitCode() int {
	var exit *exec.ExitError
	switch {
	case c.err == nil:
		return 0
	case errors.As(c.err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

// Pid is the child's process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Signal sends a signal; a child that is gone already is no error.
func (c *Child) Signal(sig syscall.Signal) { _ = c.cmd.Process.Signal(sig) }

// Ended waits for the end of the process or of the context, and says whether
// the process has ended.
func (c *Child) Ended(ctx context.Context) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		// Both may be ready; a process that ended counts.
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	}
}
