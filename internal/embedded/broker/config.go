package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// Config says where the log is kept and what the broker takes.
type Config struct {
	// DataDir is the broker's own folder, created with mode 0700. "" keeps the
	// log in memory, for tests.
	DataDir string
	// Port is a loopback port; 0 is the port of the folder's last start if it
	// is still free, else any free one. A producer that outlives the broker
	// finds it again on the same port only.
	Port int
	// SyncWrites makes every produce request an fsync per partition: durable
	// against power loss. Without it the log survives kill -9, not more.
	SyncWrites bool
	// Partitions is the number of partitions of a topic made without one.
	Partitions int
	// MaxMessageBytes bounds a record batch as sent, compressed; a topic's own
	// max.message.bytes goes before it.
	MaxMessageBytes int

	Logger *slog.Logger
}

// DefaultConfig takes the largest event (900 KiB) uncompressed, and batches of
// it: 4 MiB. A production broker's default is 1 MiB.
func DefaultConfig() Config {
	return Config{Partitions: 8, MaxMessageBytes: 4 << 20}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.Port != 0 && !embedded.ValidPort(c.Port) {
		errs = append(errs, fmt.Errorf("port %d is out of range", c.Port))
	}
	if c.Partitions <= 0 {
		errs = append(errs, errors.New("partitions must be positive"))
	}
	if c.MaxMessageBytes <= 0 || c.MaxMessageBytes > maxRequestBytes {
		errs = append(errs, fmt.Errorf("max_message_bytes must be between 1 and %d", maxRequestBytes))
	}
	return errors.Join(errs...)
}

// path is a file of the broker's folder.
func (c Config) path(name string) string { return filepath.Join(c.DataDir, name) }
