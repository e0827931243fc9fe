package statestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	role         = "keystone"
	passwordFile = "password"
	pgdata       = "pgdata" // folder of the data, owned by the account

	initTimeout = 3 * time.Minute // it takes 1 to 4 s, and was seen to take more than a minute where twenty others wanted the processor
	// fastTimeout is given to a shutdown that ends the sessions and writes a
	// checkpoint; afterwards the log is enough to recover from.
	fastTimeout = 20 * time.Second
	// predecessorTimeout is how long a start waits for the server of a parent
	// that was killed; it shuts down at once.
	predecessorTimeout = 20 * time.Second
	predecessorPoll    = 50 * time.Millisecond

	maxLogBytes = 10 << 20 // of the server's log, before it is set aside at a start
)

// postgres is a private PostgreSQL.
type postgres struct {
	cfg      Config
	log      *slog.Logger
	account  account
	place    string // folder of the account's files
	bin      string // folder of initdb and postgres
	password string
	logStart int64 // size of the server's log at the last start
}

func newPostgres(cfg Config, log *slog.Logger) (*postgres, error) {
	place, a, err := choosePlace(cfg.DataDir, log)
	if err != nil {
		return nil, err
	}
	bin, err := findBinaries(cfg.EnginesDir, place, a)
	if err != nil {
		return nil, err
	}
	password, err := embedded.Secret(cfg.path(passwordFile))
	if err != nil {
		return nil, err
	}
	return &postgres{cfg: cfg, log: log, account: a, place: place, bin: bin, password: password}, nil
}

func (p *postgres) dataDir() string { return filepath.Join(p.place, pgdata) }
func (p *postgres) logFile() string { return filepath.Join(p.place, "postgres.log") }

func (p *postgres) maintenance() string { return "postgres" }

func (p *postgres) dsn(port int, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, p.password),
		Host:     "127.0.0.1:" + strconv.Itoa(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (p *postgres) signals() []stopSignal {
	return []stopSignal{
		{syscall.SIGINT, fastTimeout},  // fast: sessions end, checkpoint
		{syscall.SIGQUIT, killTimeout}, // immediate: recovery at the next start
	}
}

func (p *postgres) start(ctx context.Context, port int) (*embedded.Child, error) {
	if err := p.initialize(ctx); err != nil {
		return nil, err
	}
	if err := p.waitPredecessor(ctx); err != nil {
		return nil, err
	}
	if err := p.writeSettings(port); err != nil {
		return nil, err
	}
	log, err := p.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := p.command("postgres", "-D", p.dataDir())
	cmd.Stdout, cmd.Stderr = log, log
	// After kill -9 of this process: an immediate shutdown. A successor may be
	// waiting for the folder, and recovery is what it is there for.
	return embedded.StartChild(cmd, syscall.SIGQUIT)
}

// command runs one of PostgreSQL's programs as the account, without our
// environment: PG… variables would change what it does.
func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := embedded.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.place
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + p.place, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.account.credential()}
	return cmd
}

// initialize makes the data folder, whole or not at all.
func (p *postgres) initialize(ctx context.Context) error {
	if made, err := os.ReadFile(filepath.Join(p.dataDir(), "PG_VERSION")); err == nil {
		return p.checkVersion(strings.TrimSpace(string(made)))
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for data: %w", err)
	}
	began := time.Now()
	tmp := filepath.Join(p.place, "pgdata.tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("remove unfinished data: %w", err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("create data: %w", err)
	}
	if err := p.account.own(tmp); err != nil {
		return fmt.Errorf("hand data to %s: %w", p.account.name, err)
	}
	passwordPath := filepath.Join(p.place, "pgpassword.tmp")
	defer os.Remove(passwordPath)
	if err := p.writeFor(passwordPath, p.password+"\n"); err != nil {
		return fmt.Errorf("hand password over: %w", err)
	}
	args := []string{"-D", tmp, "-U", role, "--pwfile=" + passwordPath, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C"} // bytes compare as they do in CockroachDB
	if !p.cfg.Fsync {
		args = append(args, "--no-sync")
	}
	if err := p.runInit(ctx, args); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.dataDir()); err != nil {
		return fmt.Errorf("put data in place: %w", err)
	}
	if err := embedded.WriteFile(p.cfg.path(marker(Postgres)), nil); err != nil {
		return fmt.Errorf("mark data folder: %w", err)
	}
	p.log.Info("state store initialized", "took_ms", time.Since(began).Milliseconds())
	return nil
}

func (p *postgres) runInit(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	output := &embedded.Tail{}
	cmd := p.command("initdb", args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = killTimeout // initdb's own children hold the output too
	child, err := embedded.StartChild(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	if !child.Ended(ctx) {
		child.Signal(syscall.SIGKILL)
		<-child.Done()
		return fmt.Errorf("initialize data: %w", ctx.Err())
	}
	if err := child.Err(); err != nil {
		return fmt.Errorf("initialize data: %w: %s", err, output)
	}
	return nil
}

// checkVersion refuses data that another major version made.
func (p *postgres) checkVersion(made string) error {
	out, err := p.command("postgres", "--version").Output()
	if err != nil {
		return fmt.Errorf("ask for PostgreSQL's version: %w", err)
	}
	// postgres (PostgreSQL) 18.4
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return fmt.Errorf("PostgreSQL's version %q is not understood", out)
	}
	if major, _, _ := strings.Cut(fields[2], "."); major != made {
		return fmt.Errorf("data folder %s was made by PostgreSQL %s, this is %s", p.dataDir(), made, fields[2])
	}
	return nil
}

// waitPredecessor waits for a server that outlived its parent for a moment. Our
// lock on the folder says that it is nobody else's.
func (p *postgres) waitPredecessor(ctx context.Context) error {
	deadline := time.Now().Add(predecessorTimeout)
	for {
		pid := p.runningPid()
		if pid == 0 {
			return p.removePidFile()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("data folder %s is %w (PostgreSQL with pid %d)", p.dataDir(), embedded.ErrFolderInUse, pid)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(predecessorPoll):
		}
	}
}

// runningPid is a process of a server that works in the data folder, or 0. It
// looks for processes in the folder, where every one of PostgreSQL's lives, and
// not at its pid file: that one says nothing of workers which outlived their
// postmaster, and its number may be taken by another program meanwhile.
func (p *postgres) runningPid() int {
	dir, err := filepath.EvalSymlinks(p.dataDir())
	if err != nil {
		return 0
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			return pid
		}
	}
	return 0
}

// removePidFile removes what a killed server left, once nobody works in the
// folder: PostgreSQL would refuse to start where its number is taken again.
func (p *postgres) removePidFile() error {
	err := os.Remove(filepath.Join(p.dataDir(), "postmaster.pid"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale pid file: %w", err)
	}
	return nil
}

// openLog opens the server's log for appending. The server writes to the file
// itself, so that its last words survive us; a large log is set aside.
func (p *postgres) openLog() (*os.File, error) {
	if info, err := os.Stat(p.logFile()); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(p.logFile(), p.logFile()+".old"); err != nil {
			return nil, fmt.Errorf("set server's log aside: %w", err)
		}
	}
	f, err := os.OpenFile(p.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server's log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open server's log: %w", err)
	}
	p.logStart = info.Size()
	return f, nil
}

func (p *postgres) lastWords() string {
	f, err := os.Open(p.logFile())
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(p.logStart, io.SeekStart); err != nil {
		return ""
	}
	tail := &embedded.Tail{}
	_, _ = io.Copy(tail, f)
	return tail.String()
}
