package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/migration"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/processor/consume"
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
	Contract bool `help:"Take away what builds older than this one need: none may be running, and none come back."`
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
	return `Safe to run again, and from several machines at once. Run it before the roles of a new version: those of the
version before go on working, and can come back, until the schema is closed to them with --contract (docs/upgrade.md).

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
	if err := c.migrate(a); err != nil {
		return err
	}
	c.refreshAnalysts(a)
	return nil
}

func (c *migrateCmd) migrate(a *app) error {
	if !c.Contract {
		return migrateOpen(a.ctx, a.log, &c.target, c.topics(), c.clickhouseFlags)
	}
	if err := noOlderBuilds(a.ctx, &c.target); err != nil {
		return err
	}
	return migrate(a.ctx, a.log, &c.target, c.topics(), c.clickhouseFlags)
}

// refreshAnalysts lets the logins read what is new, where the user who migrates may say so: a view of theirs
// may stand on it now.
func (c *migrateCmd) refreshAnalysts(a *app) {
	server, err := c.analysts()
	if err == nil {
		err = server.Refresh(a.ctx)
		server.close()
	}
	if err != nil {
		a.log.Warn("logins of analysts, if there are any, cannot read yet what was added: run keystone analysts refresh as who made them", "error", err)
	}
}

// migrateOpen leaves builds of the version before what they need.
func migrateOpen(ctx context.Context, log *slog.Logger, t *target, topics service.Topics, flags clickhouseFlags) error {
	left, err := sql.MigrateOpen(ctx, t.StoreDSN, log)
	if err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	waiting := len(left)
	err = migrateClickHouse(ctx, log, t.ClickhouseDSN, flags, func(m *schema.Migrator) ([]string, error) {
		applied, left, err := m.UpOpen(ctx)
		waiting = max(waiting, len(left)) // of each shard the same
		return applied, err
	})
	if err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	if waiting > 0 {
		log.Info("migrations wait until no older build runs: keystone migrate --contract", "migrations", waiting)
	}
	return migrateRest(ctx, t, topics)
}

// migrate is for when no older build runs.
func migrate(ctx context.Context, log *slog.Logger, t *target, topics service.Topics, flags clickhouseFlags) error {
	if err := sql.Migrate(ctx, t.StoreDSN, log); err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	err := migrateClickHouse(ctx, log, t.ClickhouseDSN, flags, func(m *schema.Migrator) ([]string, error) { return m.Up(ctx) })
	if err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	return migrateRest(ctx, t, topics)
}

func tellApplied(log *slog.Logger, applied []string) {
	for _, name := range applied {
		log.Info("migrated clickhouse", "migration", name)
	}
}

// migrateRest is what both have after the schemas.
func migrateRest(ctx context.Context, t *target, topics service.Topics) error {
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
func migrateClickHouse(ctx context.Context, log *slog.Logger, dsn string, flags clickhouseFlags, up func(*schema.Migrator) ([]string, error)) error {
	dsns := []string{dsn}
	if flags.ClickhouseCluster != "" {
		var err error
		if dsns, err = shard.DSNs(ctx, dsn, flags.ClickhouseCluster); err != nil {
			return err
		}
	}
	for _, dsn := range dsns {
		if err := migrateServer(ctx, log, dsn, flags, up); err != nil {
			return err
		}
	}
	return nil
}

func migrateServer(ctx context.Context, log *slog.Logger, dsn string, flags clickhouseFlags, up func(*schema.Migrator) ([]string, error)) (err error) {
	m, err := schema.New(dsn, flags.engines())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	applied, err := up(m)
	tellApplied(log, applied)
	if err != nil {
		return err
	}
	_, err = m.Tier(ctx, flags.tiering())
	return err
}

// noOlderBuilds looks whether anybody runs who needs what is about to be taken away.
func noOlderBuilds(ctx context.Context, t *target) error {
	stored, err := sql.Steps()
	if err != nil {
		return err
	}
	columns, err := schema.Steps()
	if err != nil {
		return err
	}
	return buildsFrom(ctx, t, migration.Oldest(stored), migration.Oldest(columns))
}

// buildsFrom looks at who is in the roles' groups: each says in its client's id which schema it was made
// for. Edges are in no group; what is taken away from them they notice when they start.
func buildsFrom(ctx context.Context, t *target, stored, columns int64) error {
	client, err := kgo.NewClient(append(t.Broker.options, kgo.SeedBrokers(t.Brokers...))...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	needs := map[string]int64{consume.DefaultConfig().Group: stored, sink.DefaultConfig().Group: columns}
	groups, err := kadm.NewClient(client).DescribeGroups(ctx, slices.Sorted(maps.Keys(needs))...)
	if err != nil {
		return fmt.Errorf("look who runs: %w", err)
	}
	for _, g := range groups.Sorted() {
		for _, m := range g.Members {
			if made, ok := service.SchemaOf(m.ClientID); needs[g.Group] > 0 && (!ok || made < needs[g.Group]) {
				return fmt.Errorf("%s has a member of an older build (client %s on %s), which is too old for this: replace it first", g.Group, m.ClientID, m.ClientHost)
			}
		}
	}
	return nil
}
