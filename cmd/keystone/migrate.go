package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/sql"
)

// topicFlags lay out the topics. Their partitions are for ever.
type topicFlags struct {
	EventsPartitions   int32 `help:"Partitions of keystone.events: how many processors can share the work." default:"4" env:"KEYSTONE_EVENTS_PARTITIONS"`
	BackfillPartitions int32 `help:"Partitions of keystone.backfill." default:"2" env:"KEYSTONE_BACKFILL_PARTITIONS"`
	ChangesPartitions  int32 `help:"Partitions of keystone.changes." default:"2" env:"KEYSTONE_CHANGES_PARTITIONS"`
	Replication        int16 `help:"Replicas of each partition; -1 is the cluster's default." default:"-1" env:"KEYSTONE_REPLICATION"`
}

func (f topicFlags) topics() service.Topics {
	return service.Topics{Events: f.EventsPartitions, Backfill: f.BackfillPartitions, Changes: f.ChangesPartitions, Replication: f.Replication}
}

type migrateCmd struct {
	target
	topicFlags
	clickhouseFlags
}

// clickhouseFlags say of what servers ClickHouse is. The first two are for ever.
type clickhouseFlags struct {
	ClickhouseReplicated    bool   `help:"Make ClickHouse's tables replicate themselves. The database must be there already, with the Replicated engine." env:"KEYSTONE_CLICKHOUSE_REPLICATED"`
	ClickhouseCluster       string `help:"Spread the rows over the shards of this cluster of the servers' configuration." placeholder:"NAME" env:"KEYSTONE_CLICKHOUSE_CLUSTER"`
	ClickhouseStoragePolicy string `help:"Keep events and lineage on this storage policy of the servers' configuration." placeholder:"NAME" env:"KEYSTONE_CLICKHOUSE_STORAGE_POLICY"`
	ClickhouseColdVolume    string `help:"Volume of the policy for what is old." placeholder:"NAME" env:"KEYSTONE_CLICKHOUSE_COLD_VOLUME"`
	ClickhouseColdAfterDays int    `help:"Days after which what was loaded moves there." placeholder:"DAYS" env:"KEYSTONE_CLICKHOUSE_COLD_AFTER_DAYS"`
}

func (f clickhouseFlags) engines() schema.Engines {
	return schema.Engines{Replicated: f.ClickhouseReplicated, Cluster: f.ClickhouseCluster}
}

func (f clickhouseFlags) tiering() schema.Tiering {
	return schema.Tiering{Policy: f.ClickhouseStoragePolicy, Volume: f.ClickhouseColdVolume, AfterDays: f.ClickhouseColdAfterDays}
}

// Help is shown below the usage.
func (migrateCmd) Help() string {
	return `Safe to run again, and from several machines at once. Run it before the roles of a new version.

Example:
  keystone migrate --store-dsn "$STORE" --clickhouse-dsn "$CLICKHOUSE" --brokers a:9092,b:9092 \
    --events-partitions 32 --replication 3`
}

// Run brings all three up to date.
func (c *migrateCmd) Run(a *app) error {
	if err := c.resolve(needStore | needClickHouse | needBrokers); err != nil {
		return err
	}
	if err := c.tiering().Validate(); err != nil {
		return err
	}
	return migrate(a.ctx, a.log, &c.target, c.topics(), c.clickhouseFlags)
}

func migrate(ctx context.Context, log *slog.Logger, t *target, topics service.Topics, flags clickhouseFlags) error {
	if err := sql.Migrate(ctx, t.StoreDSN, log); err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	if err := migrateClickHouse(ctx, log, t.ClickhouseDSN, flags); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	pool, err := sql.Open(ctx, t.StoreDSN, commandConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := retain(ctx, control.New(pool), t.ClickhouseDSN); err != nil {
		return err
	}
	return topics.Ensure(ctx, t.Brokers, t.Broker.options...)
}

// migrateClickHouse migrates one server of each shard; the others of a shard have their DDL from its Replicated
// database, and so may other shards: every statement is safe to run again.
func migrateClickHouse(ctx context.Context, log *slog.Logger, dsn string, flags clickhouseFlags) error {
	dsns := []string{dsn}
	if flags.ClickhouseCluster != "" {
		var err error
		if dsns, err = shard.DSNs(ctx, dsn, flags.ClickhouseCluster); err != nil {
			return err
		}
	}
	for _, dsn := range dsns {
		if err := migrateServer(ctx, log, dsn, flags); err != nil {
			return err
		}
	}
	return nil
}

func migrateServer(ctx context.Context, log *slog.Logger, dsn string, flags clickhouseFlags) (err error) {
	m, err := schema.New(dsn, flags.engines())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	applied, err := m.Up(ctx)
	for _, name := range applied {
		log.Info("migrated clickhouse", "migration", name)
	}
	if err != nil {
		return err
	}
	_, err = m.Tier(ctx, flags.tiering())
	return err
}
