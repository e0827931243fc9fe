package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	// readyTimeout bounds one start. It takes 0.2 to 1.6 s, more on a loaded
	// machine and for thousands of parts.
	readyTimeout = 2 * time.Minute
	readyPoll    = 10 * time.Millisecond
	// predecessorTimeout is how long a start waits for the engine of a parent
	// that was killed to leave the data folder; it leaves within 5 s.
	predecessorTimeout = 20 * time.Second
	predecessorPoll    = 100 * time.Millisecond
	// stopTimeout is the launcher's own 15 s and a little, before we kill it.
	stopTimeout = 17 * time.Second

	exitFolderLocked = 76 // of the launcher, as documented there
	codeNetwork      = 210
)

// errFolderLocked says that another engine holds the data folder.
var errFolderLocked = errors.New("another engine holds the data folder")

// startChild starts the engine and waits until it is ready. It waits for an
// engine that an earlier process left behind: our own lock on the folder says
// that nobody else uses it.
func (s *Server) startChild(ctx context.Context) (*embedded.Child, error) {
	deadline := time.Now().Add(predecessorTimeout)
	for {
		child, err := s.tryStart(ctx)
		if !errors.Is(err, errFolderLocked) {
			return child, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("data folder %s is %w: an engine was left behind or another server runs on it", s.cfg.DataDir, embedded.ErrFolderInUse)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(predecessorPoll):
		}
	}
}

// tryStart starts the engine once. On an error nothing is left running.
func (s *Server) tryStart(ctx context.Context) (*embedded.Child, error) {
	displayName := "keystone-" + embedded.RandomHex(8)
	if err := s.writeFiles(displayName); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout,
		fmt.Errorf("not ready within %s", readyTimeout))
	defer cancel()

	output := &embedded.Tail{}
	child, err := embedded.StartChild(s.command(output), syscall.SIGTERM)
	if err != nil {
		return nil, err
	}
	if err := s.waitReady(ctx, child, output, displayName); err != nil {
		child.Signal(syscall.SIGKILL)
		<-child.Done()
		return nil, err
	}
	return child, nil
}

func (s *Server) writeFiles(displayName string) error {
	if err := embedded.WriteFile(s.cfg.path(usersFile), usersXML(s.cfg, s.Password())); err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	if err := embedded.WriteFile(s.cfg.path(configFile), serverXML(s.cfg, displayName)); err != nil {
		return fmt.Errorf("write server configuration: %w", err)
	}
	// Its reappearance is the sign that this start listens.
	if err := os.Remove(s.cfg.path(portsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old ports file: %w", err)
	}
	return nil
}

// command is the launcher's command line. The environment is not ours: the
// engine must not find credentials or settings of the user's shell.
func (s *Server) command(output *embedded.Tail) *exec.Cmd {
	p := s.ports()
	args := []string{
		"--lib", s.cfg.Lib,
		"--data-dir", s.cfg.DataDir,
		"--config-file", s.cfg.path(configFile),
		"--ports-file", s.cfg.path(portsFile),
		"--http-port", strconv.Itoa(p.http),
		"--tcp-port", strconv.Itoa(p.tcp),
		"--parent-pipe",
	}
	if s.cfg.VerifiedFile != "" {
		args = append(args, "--verified-file", s.cfg.VerifiedFile)
	}
	if s.cfg.AnyLib {
		args = append(args, "--any-lib")
	}
	cmd := embedded.Command(s.cfg.Launcher, args...)
	cmd.Dir = s.cfg.DataDir
	cmd.Stderr = output
	cmd.Env = []string{
		"TERM=dumb", // the engine draws its invisible prompt for it
		"TZ=UTC",    // the server's time zone; the config has no say in it
		"HOME=" + s.cfg.DataDir,
		"PATH=/usr/bin:/bin",
		// As in the long runs this was proven with.
		"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1",
	}
	// Never written to: the launcher leaves when it closes, which the kernel
	// does for us after kill -9. Wait closes our end.
	if _, err := cmd.StdinPipe(); err != nil {
		panic("stdin of a new command is taken: " + err.Error())
	}
	return cmd
}

// startError turns an engine that ended, or a listener that failed, into an
// error by exit status and error code. It returns nil while all is well.
func (s *Server) startError(child *embedded.Child, output *embedded.Tail) error {
	select {
	case <-child.Done():
		if child.ExitCode() == exitFolderLocked {
			return errFolderLocked
		}
		return fmt.Errorf("launcher ended: %w: %s", endOf(child), output)
	default:
	}
	// A listener that fails does not end the engine: it stays at its prompt.
	if engineCode(output.String()) == codeNetwork {
		p := s.ports()
		for name, port := range map[string]int{"http": p.http, "tcp": p.tcp} {
			if port != 0 {
				if err := embedded.CheckPort(port); err != nil {
					return fmt.Errorf("%s %w", name, err)
				}
			}
		}
		return fmt.Errorf("listen: %s", output)
	}
	return nil
}

func endOf(child *embedded.Child) error {
	if err := child.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

var codeLine = regexp.MustCompile(`(?m)^Code: (\d+)\. DB::Exception`)

// engineCode is the last ClickHouse error code in the launcher's output, or 0.
func engineCode(output string) int {
	all := codeLine.FindAllStringSubmatch(output, -1)
	if len(all) == 0 {
		return 0
	}
	code, _ := strconv.Atoi(all[len(all)-1][1])
	return code
}

// readPorts reads what the engine wrote once it listened.
func readPorts(path string) (ports, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return ports{}, err
	}
	httpText, tcpText, _ := strings.Cut(strings.TrimSpace(string(data)), "\t")
	var p ports
	if p.http, err = strconv.Atoi(httpText); err == nil {
		p.tcp, err = strconv.Atoi(tcpText)
	}
	if err != nil || !embedded.ValidPort(p.http) || !embedded.ValidPort(p.tcp) {
		return ports{}, fmt.Errorf("ports file %s holds no two ports", path)
	}
	return p, nil
}
