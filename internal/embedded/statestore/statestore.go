// Package statestore runs the embedded state store as a child process on
// loopback: CockroachDB where its binary is at hand, else a private PostgreSQL
// as its stand-in, from the npm package or from the system.
//
// It prepares the data folder, starts the server, creates the database and
// stops the server. Whoever calls New owns it and stops it, after its own
// connections are closed. It knows no tables: the migrations do, through DSN.
//
// PostgreSQL refuses to run as root. Under uid 0 it runs as nobody (or
// postgres), from a copy of the binaries; when that account cannot reach the
// data folder, because it lies below somebody's 0700 home, its data are put in
// a folder of their own below /var/lib/keystone-dev, which is noted in the file
// "place" of the data folder.
package statestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// Database is created at the start; DSN leads to it.
const Database = "keystone"

const (
	portFile = "port"
	// killTimeout is what is left to a server between the last polite signal
	// and SIGKILL.
	killTimeout = 5 * time.Second
	readyPoll   = 20 * time.Millisecond
)

// engine is what differs between the two databases.
type engine interface {
	// start launches the server on the port and returns it before it is ready.
	start(ctx context.Context, port int) (*embedded.Child, error)
	// dsn is the address of a database on the port, credentials included.
	dsn(port int, database string) string
	// maintenance is a database that always exists.
	maintenance() string
	// signals end the server, from the polite to the urgent; each is given
	// the time beside it.
	signals() []stopSignal
	// lastWords is what the server wrote to its log since start.
	lastWords() string
}

type stopSignal struct {
	signal syscall.Signal
	wait   time.Duration
}

// Server is one state store on one data folder. Its methods are safe for use
// by several goroutines.
type Server struct {
	cfg    Config
	log    *slog.Logger
	failed chan error

	lifecycle sync.Mutex // held by Start and Stop; guards what follows
	lock      *embedded.FolderLock
	child     *embedded.Child // nil when not running
	stopping  chan struct{}   // closed by Stop
	watched   chan struct{}   // closed when watch has returned

	mu     sync.Mutex // guards what follows
	kind   Kind
	engine engine
	port   int
	pid    int
}

// New checks the configuration; it starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("state store config: %w", err)
	}
	if err := embedded.Absolute(&cfg.DataDir, &cfg.EnginesDir); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, log: log, failed: make(chan error, 1)}, nil
}

// Start returns when the server answers and the database exists, or with the
// reason why not: embedded.ErrFolderInUse, embedded.ErrPortInUse, or
// embedded.ErrNotInstalled when there is neither database. The first start on
// a folder initializes it. The context bounds the start only; give it a minute,
// more if a large log must be recovered. A started server is left alone.
func (s *Server) Start(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.child != nil {
		return nil
	}
	if err := makeDataDir(s.cfg.DataDir); err != nil {
		return fmt.Errorf("create state store folder: %w", err)
	}
	lock, err := embedded.LockFolder(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("start state store: %w", err)
	}
	child, err := s.launch(ctx)
	if err != nil {
		lock.Release()
		return fmt.Errorf("start state store: %w", err)
	}
	s.lock, s.child = lock, child
	s.stopping, s.watched = make(chan struct{}), make(chan struct{})
	go s.watch(child, s.stopping, s.watched)
	return nil
}

func (s *Server) launch(ctx context.Context) (*embedded.Child, error) {
	kind, engine, err := s.choose()
	if err != nil {
		return nil, err
	}
	port, err := embedded.ChoosePort(s.cfg.Port, s.cfg.path(portFile))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.kind, s.engine, s.port = kind, engine, port
	s.mu.Unlock()

	began := time.Now()
	child, err := engine.start(ctx, port)
	if err != nil {
		return nil, err
	}
	if err := waitReady(ctx, child, engine, port); err != nil {
		child.Signal(syscall.SIGKILL)
		<-child.Done()
		return nil, err
	}
	s.mu.Lock()
	s.pid = child.Pid()
	s.mu.Unlock()
	s.log.Info("state store ready", "kind", string(kind), "port", port, "pid", child.Pid(),
		"took_ms", time.Since(began).Milliseconds())
	return child, nil
}

// choose settles the kind: data that exist decide, else what is asked for, else
// what is found.
func (s *Server) choose() (Kind, engine, error) {
	kind := s.cfg.Kind
	for _, k := range []Kind{Postgres, Cockroach} {
		if _, err := os.Stat(s.cfg.path(marker(k))); err == nil {
			if kind != "" && kind != k {
				return "", nil, fmt.Errorf("data folder %s holds %s data, %s is asked for", s.cfg.DataDir, k, kind)
			}
			kind = k
		}
	}
	if kind != Postgres {
		binary, err := findCockroach(s.cfg.CockroachBinary)
		if err == nil {
			return Cockroach, newCockroach(s.cfg, binary), nil
		}
		if kind == Cockroach || s.cfg.CockroachBinary != "" {
			return "", nil, err
		}
	}
	engine, err := newPostgres(s.cfg, s.log)
	return Postgres, engine, err
}

// marker is the file that says which kind of data the folder holds.
func marker(k Kind) string { return "is-" + string(k) }

// watch reports a server that ends without being asked to.
func (s *Server) watch(child *embedded.Child, stopping, watched chan struct{}) {
	defer close(watched)
	select {
	case <-stopping:
	case <-child.Done():
		err := fmt.Errorf("state store ended unexpectedly: %w: %s", endOf(child), s.current().lastWords())
		s.log.Error("state store down", "error", err)
		select {
		case s.failed <- err:
		default: // an earlier run's error was never read
		}
	}
}

func endOf(child *embedded.Child) error {
	if err := child.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

// Stop shuts the server down: at first politely, then at once, then by SIGKILL.
// When the context ends the politeness does. Committed transactions are safe in
// every case. A stopped server is left alone.
func (s *Server) Stop(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.child == nil {
		return nil
	}
	close(s.stopping)
	<-s.watched
	began := time.Now()
	var err error
	for _, step := range s.current().signals() {
		s.child.Signal(step.signal)
		wait, cancel := context.WithTimeout(ctx, step.wait)
		if ctx.Err() != nil { // the caller's time is over: this step still gets a little
			cancel()
			wait, cancel = context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		}
		ended := s.child.Ended(wait)
		cancel()
		if ended {
			break
		}
		err = fmt.Errorf("state store did not end on %s", step.signal)
	}
	s.child.Signal(syscall.SIGKILL)
	<-s.child.Done()
	s.log.Info("state store stopped", "took_ms", time.Since(began).Milliseconds())
	s.lock.Release()
	s.child = nil
	return err
}

// Failed delivers one error when the server died by itself. It must still be
// stopped, and is not restarted: PostgreSQL brings its own workers back.
func (s *Server) Failed() <-chan error { return s.failed }

// Kind is the database behind the address; "" before Start.
func (s *Server) Kind() Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind
}

// Pid is the server's process id; 0 before Start.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// DSN is postgres://user:password@127.0.0.1:port/keystone?sslmode=disable; ""
// before Start. It stays the same over restarts while its port is free.
func (s *Server) DSN() string { return s.DSNFor(Database) }

// DSNFor is DSN with another database.
func (s *Server) DSNFor(database string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		return ""
	}
	return s.engine.dsn(s.port, database)
}

func (s *Server) current() engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}
