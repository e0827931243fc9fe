// Package analytics is the last stage: the role "sink", which brings the log into ClickHouse, put
// together from its configuration. The tables are in schema, the work in sink, the questions in
// query; COOKBOOK.md is for analysts.
//
// The caller of New starts and stops it; Stop closes all it opened.
package analytics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/analytics/rollup"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/internal/service"
)

// Config says where ClickHouse is, and how the sink works.
type Config struct {
	// ClickHouseDSN is clickhouse://user:password@host:port/database; the database is keystone where
	// it names none. The tables must be there (package schema).
	ClickHouseDSN string
	// ClickHouseConns bounds the connections to a server, and with them the inserts at one time.
	ClickHouseConns int
	Sink            sink.Config
}

// DefaultConfig fits a small machine. The DSN and the brokers must be set.
func DefaultConfig() Config {
	return Config{ClickHouseConns: 8, Sink: sink.DefaultConfig()}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.ClickHouseDSN == "" {
		errs = append(errs, errors.New("clickhouse_dsn must be set"))
	}
	if c.ClickHouseConns < 2 {
		errs = append(errs, fmt.Errorf("clickhouse_conns must be at least 2, not %d", c.ClickHouseConns))
	}
	return errors.Join(append(errs, c.Sink.Validate())...)
}

// Sink is the role.
type Sink struct {
	sink    *sink.Sink
	servers *shard.Servers
	log     *slog.Logger
	close   func() error // closes servers, once

	catching sync.WaitGroup     // the goroutine of catchUp
	giveUp   context.CancelFunc // ends it; nil before Start
}

// Waits between attempts to catch up with the rollups.
const (
	minCatchWait = 100 * time.Millisecond
	maxCatchWait = 10 * time.Second
)

// New checks the configuration. It starts and connects nothing.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure analytics: %w", err)
	}
	steps, err := schema.Steps()
	if err != nil {
		return nil, err
	}
	cfg.Sink.ClientID = service.ClientID("sink", steps.Newest())
	servers, err := shard.Open(cfg.ClickHouseDSN, cfg.ClickHouseConns)
	if err != nil {
		return nil, err
	}
	s, err := sink.New(cfg.Sink, servers, log, reg)
	if err != nil {
		return nil, errors.Join(err, servers.Close())
	}
	return &Sink{sink: s, servers: servers, log: log, close: sync.OnceValue(servers.Close)}, nil
}

// schemaTimeout bounds the look at ClickHouse's schema.
const schemaTimeout = 10 * time.Second

// Start begins to read the log. It does not wait for ClickHouse or the log; a schema that is not for this
// build is an error.
func (s *Sink) Start(ctx context.Context) error {
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	if err := s.sink.Start(ctx); err != nil {
		return err
	}
	catching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.giveUp = cancel
	s.catching.Go(func() { s.catchUp(catching) })
	return nil
}

func (s *Sink) checkSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	err := schema.Check(ctx, s.servers.Home())
	if errors.Is(err, schema.ErrSchema) {
		return err
	}
	if err != nil {
		s.log.Warn("clickhouse does not answer yet", "error", err)
	}
	return nil
}

// catchUp adds to the rollups what an insert may have left out that was broken off before this start.
// It tries until ClickHouse is there.
func (s *Sink) catchUp(ctx context.Context) {
	for wait := minCatchWait; ; wait = min(2*wait, maxCatchWait) {
		err := rollup.Catch(ctx, s.servers)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.WarnContext(ctx, "cannot catch up with the rollups, will try again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Stop inserts what is under way, saves the positions and closes the connections. What it cannot do
// before ctx ends is left to the next start.
func (s *Sink) Stop(ctx context.Context) error {
	if s.giveUp != nil {
		s.giveUp()
	}
	s.catching.Wait()
	return errors.Join(s.sink.Stop(ctx), s.close())
}

// Ready tells whether ClickHouse takes inserts and the log answers.
func (s *Sink) Ready(ctx context.Context) error { return s.sink.Ready(ctx) }
