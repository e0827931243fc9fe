// Package broker runs the embedded log: kfake, the Kafka-protocol broker that
// ships with franz-go, in this process, on loopback, with its log on disk.
//
// It makes no topics and knows none: whoever needs one makes it through the
// protocol, as with any broker. Whoever calls New stops it, after its own
// clients are closed.
//
// What kfake keeps, and what not (read in its source and tested here): records,
// topics and committed group offsets survive kill -9. The memory of an
// idempotent producer's last batches is written by a clean Stop only: a
// producer that outlives a killed broker goes on, but a batch it sends again
// because the answer was lost is stored twice. After a kill the whole log is
// read into memory once. kfake's own retention and compaction are off (see
// brokerSettings): the log is kept for as long as its folder.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	portFile  = "port"
	logFolder = "log"
	clusterID = "keystone-dev"
	// producersFile is kfake's.
	producersFile = "seq_windows.json"
	// never is a period for what must not happen: ten years.
	never = 10 * 365 * 24 * time.Hour
)

// Broker is one broker on one data folder. Its methods are safe for use by
// several goroutines.
type Broker struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	lock    *embedded.FolderLock
	cluster *kfake.Cluster // nil when not running
	addrs   []string
}

// New checks the configuration; it starts nothing.
func New(cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker config: %w", err)
	}
	if err := embedded.Absolute(&cfg.DataDir); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Broker{cfg: cfg, log: log}, nil
}

// Start loads the log and listens. It fails with embedded.ErrFolderInUse or
// embedded.ErrPortInUse. A started broker is left alone. Loading cannot be
// interrupted: the context is looked at before it only.
func (b *Broker) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	port, lock, err := b.claim()
	if err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	began := time.Now()
	cluster, err := kfake.NewCluster(b.options(port)...)
	if err != nil {
		lock.Release()
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("start broker: port %d is %w", port, embedded.ErrPortInUse)
		}
		return fmt.Errorf("start broker: %w", err)
	}
	if b.cfg.DataDir != "" {
		b.forgetProducers()
	}
	b.cluster, b.lock, b.addrs = cluster, lock, cluster.ListenAddrs()
	b.log.Info("broker ready", "addrs", b.addrs, "took_ms", time.Since(began).Milliseconds())
	return nil
}

// claim takes the folder and settles the port.
func (b *Broker) claim() (int, *embedded.FolderLock, error) {
	if b.cfg.DataDir == "" {
		port := b.cfg.Port
		if port != 0 {
			return port, nil, embedded.CheckPort(port)
		}
		return 0, nil, nil // the kernel's choice
	}
	if err := os.MkdirAll(b.cfg.DataDir, 0o700); err != nil {
		return 0, nil, fmt.Errorf("create broker folder: %w", err)
	}
	// kfake itself locks nothing: two of them would destroy the log.
	lock, err := embedded.LockFolder(b.cfg.DataDir)
	if err != nil {
		return 0, nil, err
	}
	port, err := embedded.ChoosePort(b.cfg.Port, b.cfg.path(portFile))
	if err != nil {
		lock.Release()
		return 0, nil, err
	}
	return port, lock, nil
}

// forgetProducers removes the file of the producers' last batches once it is
// loaded; a clean Stop writes it again. After a kill it would be out of date,
// and a producer that goes on would be refused at first (and pause for seconds)
// instead of being taken at its word.
func (b *Broker) forgetProducers() {
	path := filepath.Join(b.cfg.path(logFolder), producersFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.log.Warn("broker keeps outdated producers", "error", err)
	}
}

func (b *Broker) options(port int) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.Ports(port), // one port, one broker
		kfake.ClusterID(clusterID),
		kfake.DefaultNumPartitions(b.cfg.Partitions),
		kfake.BrokerConfigs(brokerSettings(b.cfg)),
		kfake.ListenFn(listenGuarded),
		kfake.WithLogger(logAdapter{b.log}),
	}
	if b.cfg.DataDir != "" {
		opts = append(opts, kfake.DataDir(b.cfg.path(logFolder)))
	}
	if b.cfg.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// brokerSettings turn off what would lose data. When retention has emptied a
// partition and kfake is started again, its offsets begin anew at 0, below
// those the consumers have committed; compaction deletes a segment before it
// writes the new one; and the offsets of a group go when a developer comes back
// after a week.
func brokerSettings(cfg Config) map[string]string {
	return map[string]string{
		"message.max.bytes":         strconv.Itoa(cfg.MaxMessageBytes),
		"log.cleaner.backoff.ms":    strconv.FormatInt(never.Milliseconds(), 10),
		"offsets.retention.minutes": strconv.Itoa(int(never.Minutes())),
	}
}

// Stop writes the broker's state and closes it. Requests under way are cut off.
// The context is ignored: what is written is small, and half of it is worse. A
// stopped broker is left alone.
func (b *Broker) Stop(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster == nil {
		return nil
	}
	began := time.Now()
	b.cluster.Close()
	b.cluster = nil
	b.lock.Release()
	b.log.Info("broker stopped", "took_ms", time.Since(began).Milliseconds())
	return nil
}

// Addrs are the seeds for a Kafka client, as host:port; empty before Start.
func (b *Broker) Addrs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addrs
}

// listenGuarded listens as kfake wants to, behind the guard.
func listenGuarded(network, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return guardedListener{listener}, nil
}

// logAdapter passes kfake's warnings and errors on.
type logAdapter struct{ log *slog.Logger }

func (a logAdapter) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		a.log.Error("broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		a.log.Warn("broker", "message", fmt.Sprintf(format, args...))
	}
}
