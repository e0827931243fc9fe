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
	Contract             bool `help:"Take away what builds older than this one need: none may be running, and none come back."`
	ClickhouseReplicated bool `help:"Make ClickHouse's tables replicate themselves. The database must be there already, with the Replicated engine." env:"KEYSTONE_CLICKHOUSE_REPLICATED"`
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
	engines := schema.Engines{Replicated: c.ClickhouseReplicated}
	if !c.Contract {
		return migrateOpen(a.ctx, a.log, &c.target, c.topics(), engines)
	}
	if err := noOlderBuilds(a.ctx, &c.target); err != nil {
		return err
	}
	return migrate(a.ctx, a.log, &c.target, c.topics(), engines)
}

// migrateOpen leaves builds of the version before what they need.
func migrateOpen(ctx context.Context, log *slog.Logger, t *target, topics service.Topics, engines schema.Engines) error {
	left, err := sql.MigrateOpen(ctx, t.StoreDSN, log)
	if err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	m, err := schema.New(t.ClickhouseDSN, engines)
	if err != nil {
		return err
	}
	applied, leftColumns, err := m.UpOpen(ctx)
	if err = errors.Join(err, m.Close()); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	tellApplied(log, applied)
	if n := len(left) + len(leftColumns); n > 0 {
		log.Info("migrations wait until no older build runs: keystone migrate --contract", "migrations", n)
	}
	return migrateRest(ctx, t, topics)
}

// migrate is for when no older build runs.
func migrate(ctx context.Context, log *slog.Logger, t *target, topics service.Topics, engines schema.Engines) error {
	if err := sql.Migrate(ctx, t.StoreDSN, log); err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	m, err := schema.New(t.ClickhouseDSN, engines)
	if err != nil {
		return err
	}
	applied, err := m.Up(ctx)
	if err = errors.Join(err, m.Close()); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	tellApplied(log, applied)
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
