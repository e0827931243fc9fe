package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keystone-cdp/keystone/analytics/access"
	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
	"github.com/keystone-cdp/keystone/internal/service"
)

// engineFlags say where the embedded engines are and which ports they take.
type engineFlags struct {
	EnginesDir      string `help:"Folder of the installed engines (an npm node_modules); found beside the binary where absent." env:"KEYSTONE_ENGINES_DIR" type:"path" placeholder:"DIR"`
	CockroachBinary string `help:"Use this CockroachDB instead of PostgreSQL." env:"COCKROACH_BINARY" placeholder:"FILE"`
	BrokerPort      int    `help:"Loopback port of the log; 0 takes a free one." placeholder:"PORT"`
	StorePort       int    `help:"Loopback port of the state store; 0 takes a free one." placeholder:"PORT"`
	ClickhouseHTTP  int    `name:"clickhouse-http-port" help:"Loopback port of ClickHouse over HTTP; 0 takes a free one." placeholder:"PORT"`
	ClickhouseTCP   int    `name:"clickhouse-tcp-port" help:"Loopback port of ClickHouse's native protocol; 0 takes a free one." placeholder:"PORT"`
	Fsync           bool   `help:"Make the log durable against power loss too, not only against kill -9. Costs speed." env:"KEYSTONE_FSYNC"`
}

// engineStopTimeout is what each engine gets to end: past it, it is killed, which loses nothing.
const engineStopTimeout = 15 * time.Second

// engines are the three servers of `keystone dev`.
type engines struct {
	broker     *broker.Broker
	store      *statestore.Server
	clickhouse *clickhouse.Server
}

func newEngines(f engineFlags, dataDir string, log *slog.Logger) (*engines, error) {
	dir, err := embedded.EnginesDir(f.EnginesDir)
	if err != nil {
		return nil, err
	}
	e := new(engines)
	brokerConfig := broker.DefaultConfig()
	brokerConfig.DataDir = filepath.Join(dataDir, "log")
	brokerConfig.Port, brokerConfig.SyncWrites, brokerConfig.Logger = f.BrokerPort, f.Fsync, log
	if e.broker, err = broker.New(brokerConfig); err != nil {
		return nil, err
	}
	storeConfig := statestore.DefaultConfig()
	storeConfig.DataDir, storeConfig.EnginesDir = filepath.Join(dataDir, "store"), dir
	storeConfig.CockroachBinary, storeConfig.Port, storeConfig.Logger = f.CockroachBinary, f.StorePort, log
	if e.store, err = statestore.New(storeConfig); err != nil {
		return nil, err
	}
	e.clickhouse, err = newClickHouse(f, dir, dataDir, log)
	return e, err
}

func newClickHouse(f engineFlags, enginesDir, dataDir string, log *slog.Logger) (*clickhouse.Server, error) {
	config := clickhouse.DefaultConfig()
	var err error
	if config.Lib, err = embedded.ClickHouseLib(enginesDir); err != nil {
		return nil, err
	}
	if config.Launcher, err = embedded.Launcher(""); err != nil {
		return nil, err
	}
	config.DataDir = filepath.Join(dataDir, "clickhouse")
	config.HTTPPort, config.TCPPort, config.Logger = f.ClickhouseHTTP, f.ClickhouseTCP, log
	analysts, _, err := access.Read(dataDir)
	if err != nil {
		return nil, err
	}
	config.Users = analysts.Users(clickhouse.Database)
	return clickhouse.New(config)
}

// start starts all three at once: each takes a second or two on its own.
func (e *engines) start(ctx context.Context, group *service.Group) error {
	ready, ctx := errgroup.WithContext(ctx)
	parts := []struct {
		name string
		part service.Part
	}{{"log", e.broker}, {"state store", e.store}, {"ClickHouse", e.clickhouse}}
	for _, p := range parts {
		ready.Go(func() error { return p.part.Start(ctx) })
	}
	err := ready.Wait()
	for _, p := range parts {
		group.Add(p.name, p.part, engineStopTimeout)
	}
	return err
}
