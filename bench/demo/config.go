package demo

import (
	"errors"
	"fmt"
	"time"

	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/shop"
)

// Config says what is replayed and where to.
type Config struct {
	EdgeURL        string // scheme://host:port
	TrackerKey     string
	IntegrationKey string
	// Shop is the stream. A zero Start is set so that the stream ends about now.
	Shop shop.Config
	// LiveShare is the share of households whose events come one by one through POST /ingest; the
	// others' come as history, in batches.
	LiveShare   float64
	Connections int // of each kind
	BatchEvents int
	// RetryFor is how long events that are not acknowledged are sent again.
	RetryFor time.Duration
}

// DefaultConfig replays twenty thousand events, a third of them live, a few of them invalid.
func DefaultConfig() Config {
	s := shop.DefaultConfig()
	s.Events, s.Invalid, s.Start = 20_000, 0.001, time.Time{}
	return Config{Shop: s, LiveShare: 0.35, Connections: 32, BatchEvents: 500, RetryFor: time.Minute}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	errs := []error{c.dated(time.Now()).Shop.Validate()}
	if !(c.LiveShare >= 0 && c.LiveShare <= 1) {
		errs = append(errs, fmt.Errorf("live_share must be from 0 to 1, not %g", c.LiveShare))
	}
	if err := c.live().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("live: %w", err))
	}
	if err := c.history().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("history: %w", err))
	}
	return errors.Join(errs...)
}

// dated sets the start of a stream that has none.
func (c Config) dated(now time.Time) Config {
	if c.Shop.Start.IsZero() {
		c.Shop.Start = now.Add(-c.Shop.Span).Truncate(24 * time.Hour)
	}
	return c
}

func (c Config) live() load.Config {
	l := load.DefaultConfig()
	l.URL, l.Key, l.Connections, l.RetryFor, l.Ordered = c.EdgeURL, c.TrackerKey, c.Connections, c.RetryFor, true
	return l
}

func (c Config) history() load.Config {
	l := c.live()
	l.Path, l.Key, l.BatchEvents, l.Timeout = load.PathBatch, c.IntegrationKey, c.BatchEvents, time.Minute
	return l
}
