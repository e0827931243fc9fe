// Package clickhouse runs a ClickHouse server as a child process: the engine of
// libchdb.so behind its own HTTP and native-TCP listeners, on loopback. Any
// ClickHouse client talks to it as to any server, because it is one.
//
// It writes the server's configuration and users, starts the launcher
// (cmd/keystone-clickhouse), proves that both ports are answered by this very
// start, restarts the engine with back-off when it dies, and stops it. Whoever
// calls New owns the server and stops it, after its own connections are closed.
//
// It is not a client and knows no tables: the analytics stage opens NativeDSN
// like that of any server. What differs from a real server: users come from
// Config only (no CREATE USER), async inserts run synchronously, nothing is
// replicated; and a dictionary over a local table must name its user.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"sync"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	// Database is the pipeline's database. Its user owns every database whose
	// name begins with this word.
	Database = "keystone"
	userName = "keystone"

	configFile   = "config.xml"
	usersFile    = "users.xml"
	passwordFile = "password"
	portsFile    = "ports.tsv"
)

// Server is one ClickHouse server on one data folder. Its methods are safe for
// use by several goroutines.
type Server struct {
	cfg Config
	log *slog.Logger

	lifecycle sync.Mutex // held by Start and Stop
	lock      *embedded.FolderLock
	stop      context.CancelFunc // ends the supervisor; nil when not running
	killed    chan struct{}      // closed by Stop to end the wait for a polite end
	stopped   chan struct{}      // closed by the supervisor
	failed    chan error

	mu       sync.Mutex // guards the rest
	password string
	httpPort int
	tcpPort  int
	restarts int
	pid      int
}

// New checks the configuration; it starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("clickhouse config: %w", err)
	}
	if err := embedded.Absolute(&cfg.DataDir, &cfg.Lib, &cfg.Launcher, &cfg.VerifiedFile); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, log: log, failed: make(chan error, 1)}, nil
}

// Start returns when both ports answer and the database exists, or with the
// reason why not: embedded.ErrFolderInUse for a folder another process works
// on, embedded.ErrPortInUse for a busy port. A started server is left alone.
// The context bounds the start only.
func (s *Server) Start(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.stop != nil {
		return nil
	}
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("create clickhouse folder: %w", err)
	}
	lock, err := embedded.LockFolder(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	child, err := s.startFirst(ctx)
	if err != nil {
		lock.Release()
		return fmt.Errorf("start clickhouse: %w", err)
	}
	supervision, stop := context.WithCancel(context.Background())
	s.lock, s.stop = lock, stop
	s.killed, s.stopped = make(chan struct{}), make(chan struct{})
	go s.supervise(supervision, child)
	return nil
}

// startFirst settles what stays the same over restarts, then starts the engine.
func (s *Server) startFirst(ctx context.Context) (*embedded.Child, error) {
	password, err := embedded.Secret(s.cfg.path(passwordFile))
	if err != nil {
		return nil, err
	}
	httpPort, tcpPort, err := choosePorts(s.cfg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.password, s.httpPort, s.tcpPort = password, httpPort, tcpPort
	s.mu.Unlock()
	return s.startChild(ctx)
}

// Stop ends the engine: it is asked, has 15 s, and is killed then, or at once
// when the context ends. Acknowledged inserts are safe either way. Close your
// own connections first. A stopped server is left alone.
func (s *Server) Stop(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.stop == nil {
		return nil
	}
	s.stop()
	var err error
	select {
	case <-s.stopped:
	case <-ctx.Done():
		err = fmt.Errorf("stop clickhouse: %w", ctx.Err())
		close(s.killed)
		<-s.stopped
	}
	s.lock.Release()
	s.stop = nil
	return err
}

// SetUsers replaces the users besides the pipeline's own and starts the engine again with them: it
// reads them at its start only. Connections break; the ports stay. Where it does not start with them
// it is started with those it had. Of a server that does not run they are for the next start.
func (s *Server) SetUsers(ctx context.Context, users []User) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	cfg, before := s.cfg, s.cfg.Users
	cfg.Users = users
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("set clickhouse users: %w", err)
	}
	if s.stop == nil {
		s.cfg.Users = users
		return nil
	}
	s.stop()
	<-s.stopped
	s.cfg.Users = users
	child, err := s.startChild(ctx)
	if err != nil {
		s.cfg.Users = before
		var again error
		if child, again = s.startChild(context.WithoutCancel(ctx)); again != nil {
			s.lock.Release()
			s.stop = nil
			err = errors.Join(err, again)
			select {
			case s.failed <- err:
			default: // an earlier run's error was never read
			}
			return fmt.Errorf("set clickhouse users: %w", err)
		}
	}
	supervision, stop := context.WithCancel(context.Background())
	s.stop, s.killed, s.stopped = stop, make(chan struct{}), make(chan struct{})
	go s.supervise(supervision, child)
	if err != nil {
		return fmt.Errorf("set clickhouse users: %w", err)
	}
	return nil
}

// Failed delivers one error when the engine died and could not be brought back.
// The server must still be stopped.
func (s *Server) Failed() <-chan error { return s.failed }

// Restarts counts how often the engine was brought back.
func (s *Server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// Pid is the engine's process id, which changes with every restart.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// User and Password are the pipeline's login, for both ports.
func (s *Server) User() string { return userName }

// Password is kept in the data folder and stays the same over restarts. It is
// empty before Start.
func (s *Server) Password() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.password
}

// NativeDSN is the address for clickhouse-go over the native protocol with LZ4:
// clickhouse://user:password@127.0.0.1:port/keystone?compress=lz4.
func (s *Server) NativeDSN() string { return s.NativeDSNFor(Database) }

// NativeDSNFor is NativeDSN with another database.
func (s *Server) NativeDSNFor(database string) string {
	u := s.url("clickhouse", s.ports().tcp)
	u.Path, u.RawQuery = "/"+database, "compress=lz4"
	return u.String()
}

// HTTPURL is the address of the HTTP interface, without credentials.
func (s *Server) HTTPURL() string {
	u := s.url("http", s.ports().http)
	u.User = nil
	return u.String()
}

// HTTPDSN is HTTPURL with user, password and ?database=: paste it to curl.
func (s *Server) HTTPDSN() string {
	u := s.url("http", s.ports().http)
	u.Path, u.RawQuery = "/", "database="+Database
	return u.String()
}

func (s *Server) url(scheme string, port int) *url.URL {
	return &url.URL{
		Scheme: scheme,
		User:   url.UserPassword(userName, s.Password()),
		Host:   "127.0.0.1:" + strconv.Itoa(port),
	}
}

type ports struct{ http, tcp int }

func (s *Server) ports() ports {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ports{http: s.httpPort, tcp: s.tcpPort}
}

// choosePorts settles both ports; 0 leaves the choice to the engine.
func choosePorts(cfg Config) (httpPort, tcpPort int, err error) {
	last, _ := readPorts(cfg.path(portsFile)) // absent or damaged: no memory
	httpPort, httpErr := choosePort("http", cfg.HTTPPort, last.http)
	tcpPort, tcpErr := choosePort("tcp", cfg.TCPPort, last.tcp)
	return httpPort, tcpPort, errors.Join(httpErr, tcpErr)
}

func choosePort(name string, explicit, last int) (int, error) {
	if explicit != 0 {
		if err := embedded.CheckPort(explicit); err != nil {
			return 0, fmt.Errorf("%s %w", name, err)
		}
		return explicit, nil
	}
	if last != 0 && embedded.CheckPort(last) == nil {
		return last, nil
	}
	return 0, nil
}
