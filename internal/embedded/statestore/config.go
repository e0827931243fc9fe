package statestore

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// Kind is the database behind the address.
type Kind string

// The zero Kind lets the server choose: what the data folder already holds,
// else CockroachDB when its binary is found, else PostgreSQL.
const (
	Postgres  Kind = "postgres"
	Cockroach Kind = "cockroach"
)

// Config says where the engine is, where its data live and how it behaves.
type Config struct {
	// DataDir is the server's own folder, created when absent. One server per
	// folder.
	DataDir string
	Kind    Kind

	// EnginesDir is the folder of the npm packages (embedded.EnginesDir); ""
	// leaves the system's PostgreSQL only.
	EnginesDir string
	// CockroachBinary is the binary to use; "" looks for cockroach on $PATH.
	CockroachBinary string

	// Port is a loopback port; 0 is the port of the folder's last start if it
	// is still free, else any free one.
	Port int

	// Fsync makes commits durable against power loss; without it they survive
	// kill -9 of the server, not of the machine. For tests only.
	Fsync bool
	// StandIn gives PostgreSQL the settings under which small tables do not
	// make every pair of serializable transactions conflict: no sequential and
	// no bitmap scans, custom plans. As CockroachDB's stand-in it needs them.
	StandIn bool
	// SharedBuffersMB is PostgreSQL's buffer, or CockroachDB's cache.
	SharedBuffersMB int
	// MaxWALMB is how much log may gather before PostgreSQL writes a
	// checkpoint; recovery after a kill reads it.
	MaxWALMB       int
	MaxConnections int

	Logger *slog.Logger
}

// DefaultConfig is durable and fits a laptop.
func DefaultConfig() Config {
	return Config{
		Fsync:           true,
		StandIn:         true,
		SharedBuffersMB: 256,
		MaxWALMB:        2048,
		MaxConnections:  100,
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	broken := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		broken("data folder is not set")
	}
	switch c.Kind {
	case "", Postgres, Cockroach:
	default:
		broken("kind %q is neither %s nor %s", c.Kind, Postgres, Cockroach)
	}
	if c.Port != 0 && !embedded.ValidPort(c.Port) {
		broken("port %d is out of range", c.Port)
	}
	for name, v := range map[string]int{
		"shared_buffers_mb": c.SharedBuffersMB, "max_wal_mb": c.MaxWALMB, "max_connections": c.MaxConnections,
	} {
		if v <= 0 {
			broken("%s must be positive", name)
		}
	}
	return errors.Join(errs...)
}

// path is a file of the server's folder.
func (c Config) path(name string) string { return filepath.Join(c.DataDir, name) }
