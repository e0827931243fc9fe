package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Paths of the edge that take events.
const (
	PathIngest = "/ingest"
	PathBatch  = "/tenant/ingest/batch"
)

// MaxConnections bounds the connections of one run.
const MaxConnections = 10_000

// Config says where events go and how.
type Config struct {
	URL  string // scheme://host:port of the edge
	Path string // PathIngest or PathBatch
	Key  string
	// ContentType of the body; empty is what Path takes: JSON, or NDJSON.
	ContentType string
	// Connections is how many requests are under way at a time.
	Connections int
	// Rate is events per second, sent whether or not answers come (open loop). Zero sends the next
	// request as soon as the last is answered (closed loop): that finds the ceiling, and says nothing
	// about latency.
	Rate float64
	// BatchEvents is how many events one request holds; on PathIngest it is 1.
	BatchEvents int
	// List sends a batch as a JSON array; otherwise it is a line an event (NDJSON).
	List bool
	// Gzip compresses bodies.
	Gzip bool
	// Ordered keeps every lane on one connection, so that its events arrive in their order.
	Ordered bool
	// Timeout bounds one attempt.
	Timeout time.Duration
	// RetryFor is how long a request that was not acknowledged is tried again, with the same bytes and
	// so the same message ids. Zero gives up at once.
	RetryFor time.Duration
	// ServerPID is the server's process, whose processor time is reported. Zero is none.
	ServerPID int
	// ServerCount answers how many events the server has taken so far, by its own count. It is asked
	// before and after. Nil is none.
	ServerCount func(context.Context) (int64, error)
	// OnDone is told, by many goroutines, of events whose fate is known. Nil is none.
	OnDone func(events int)
}

// DefaultConfig sends single events over 64 connections, as fast as they are answered.
func DefaultConfig() Config {
	return Config{Path: PathIngest, Connections: 64, BatchEvents: 1, Timeout: 10 * time.Second}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		errs = append(errs, errors.New("url must be http://host:port or https://host:port, without a path"))
	}
	if c.Path != PathIngest && c.Path != PathBatch {
		errs = append(errs, fmt.Errorf("path must be %s or %s", PathIngest, PathBatch))
	}
	if c.Key == "" || strings.ContainsAny(c.Key, "\r\n") {
		errs = append(errs, errors.New("key must be given"))
	}
	if c.Connections < 1 || c.Connections > MaxConnections {
		errs = append(errs, fmt.Errorf("connections must be from 1 to %d", MaxConnections))
	}
	if c.Rate < 0 {
		errs = append(errs, errors.New("rate must not be negative"))
	}
	if c.BatchEvents < 1 || c.Path == PathIngest && c.BatchEvents != 1 {
		errs = append(errs, errors.New("batch_events must be at least 1, and 1 on "+PathIngest))
	}
	if c.Timeout <= 0 || c.RetryFor < 0 {
		errs = append(errs, errors.New("timeout must be positive, and retry_for must not be negative"))
	}
	return errors.Join(errs...)
}
