package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// certificate is the TLS certificate in two files, read again when they change. Connections keep
// what they began with. Files that cannot be used, as those of which only one has been replaced yet,
// leave the last good certificate in place.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	metrics           *metrics
	current           atomic.Pointer[tls.Certificate]
	seen              [2]stamp // of the files, as last read; used by load's callers in turn
}

// stamp tells one content of a file from another. Size is in it for those that keep the time.
type stamp struct {
	modified time.Time
	size     int64
}

func newCertificate(cfg Config, log *slog.Logger, m *metrics) (*certificate, error) {
	c := &certificate{certFile: cfg.TLSCert, keyFile: cfg.TLSKey, log: log, metrics: m}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads the files if they have changed. What is read may be younger than what was looked at, and is read
// again then: that it is the same certificate is no change.
func (c *certificate) load() (changed bool, err error) {
	var now [2]stamp
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name) // through symbolic links, which orchestrators swap
		if err != nil {
			return false, fmt.Errorf("read the TLS certificate: %w", reason(err))
		}
		now[i] = stamp{info.ModTime(), info.Size()}
	}
	if now == c.seen {
		return false, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("read the TLS certificate: %w", reason(err))
	}
	c.seen = now
	if old := c.current.Load(); old != nil && slices.EqualFunc(old.Certificate, pair.Certificate, bytes.Equal) {
		return false, nil
	}
	c.current.Store(&pair)
	return true, nil
}

// reason keeps paths out of what is logged at every poll.
func reason(err error) error {
	if path := new(fs.PathError); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// watch looks at the files until ctx ends.
func (c *certificate) watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var failing bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := c.load()
		switch {
		case err != nil:
			c.metrics.certFailures.Inc()
			if !failing {
				c.log.Warn("the new TLS certificate cannot be used; the last one stays", "error", err)
			}
		case changed:
			c.metrics.certReloads.Inc()
			c.log.Info("the TLS certificate was replaced")
		}
		failing = err != nil
	}
}

// listen puts TLS on top of a listener.
func (c *certificate) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	})
}
