// Package rollup keeps the rollups of table events whole. They are filled by materialized views with
// every insert (schema/migrations/0020_rollups.sql). An insert that was broken off, by the death of
// ClickHouse or of the sink, may have reached events and not all of them; who resumes finds its rows in
// events and does not insert them again. Catch adds what may be missing so. The rollups are made of
// sets, least and greatest values, so that what is added again changes nothing: it is safe at any
// time, beside inserts and beside itself.
package rollup

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/shard"
)

// suffix is what the name of a materialized view has beside that of the table it fills.
const suffix = "_fill"

// lastInserts is how many inserts of each partition of the log Catch looks at. Only the last one before
// a death can have been broken off; the sink that comes after may have made some more by then.
const lastInserts = 20

// All inserts of a sink have one loaded_at each.
const recent = `
SELECT topic, partition, toInt64(min(toUnixTimestamp64Milli(loaded_at))) FROM
(
	SELECT DISTINCT topic, partition, loaded_at FROM %s
	ORDER BY loaded_at DESC LIMIT {n:UInt32} BY topic, partition
)
GROUP BY topic, partition ORDER BY topic, partition`

// Catch adds the last inserts to the rollups once more, on every shard: a rollup is where its events are.
func Catch(ctx context.Context, servers *shard.Servers) error {
	set, err := servers.Get(ctx)
	if err != nil {
		return err
	}
	for _, conn := range set.All() {
		if err := catch(ctx, conn, set.Layout); err != nil {
			return err
		}
	}
	return nil
}

func catch(ctx context.Context, conn driver.Conn, layout shard.Layout) error {
	filter, err := tail(ctx, conn, layout.Local("events"))
	if err != nil || filter == "" {
		return err
	}
	fills, err := list(ctx, conn)
	if err != nil {
		return err
	}
	for _, f := range fills {
		if err := f.add(ctx, conn, layout, filter); err != nil {
			return err
		}
	}
	return nil
}

// Add adds the events for which a condition holds to one rollup once more, on one shard.
func Add(ctx context.Context, conn driver.Conn, layout shard.Layout, target, filter string) error {
	fills, err := list(ctx, conn)
	if err != nil {
		return err
	}
	for _, f := range fills {
		if f.target() == target {
			return f.add(ctx, conn, layout, filter)
		}
	}
	return fmt.Errorf("there is no rollup %s", target)
}

func (f fill) target() string { return strings.TrimSuffix(f.name, suffix) }

func (f fill) add(ctx context.Context, conn driver.Conn, layout shard.Layout, filter string) error {
	// Name and SELECT are those of our own migrations.
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"additional_table_filters": clickhouse.CustomSetting{Value: "{" + quote(f.database+"."+layout.Local("events")) + ": " + quote(filter) + "}"},
		"async_insert":             0,
	}))
	if err := conn.Exec(ctx, "INSERT INTO "+layout.Local(f.target())+" "+f.query); err != nil {
		return fmt.Errorf("catch up rollup %s: %w", f.target(), err)
	}
	return nil
}

// tail is a condition on events that holds for the last inserts; empty where there were none.
func tail(ctx context.Context, conn driver.Conn, events string) (string, error) {
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"n": fmt.Sprint(lastInserts)})), fmt.Sprintf(recent, events))
	if err != nil {
		return "", fmt.Errorf("find the last inserts: %w", err)
	}
	defer rows.Close()
	var parts []string
	for rows.Next() {
		var topic string
		var partition int32
		var from int64
		if err := rows.Scan(&topic, &partition, &from); err != nil {
			return "", fmt.Errorf("find the last inserts: %w", err)
		}
		parts = append(parts, fmt.Sprintf("(topic = %s AND partition = %d AND loaded_at >= fromUnixTimestamp64Milli(%d, 'UTC'))", quote(topic), partition, from))
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("find the last inserts: %w", err)
	}
	return strings.Join(parts, " OR "), nil
}

// fill is a materialized view.
type fill struct{ database, name, query string }

func list(ctx context.Context, conn driver.Conn) ([]fill, error) {
	rows, err := conn.Query(ctx, `
SELECT database, name, as_select FROM system.tables
WHERE database = currentDatabase() AND engine = 'MaterializedView' AND endsWith(name, '`+suffix+`') ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list rollups: %w", err)
	}
	defer rows.Close()
	var all []fill
	for rows.Next() {
		var f fill
		if err := rows.Scan(&f.database, &f.name, &f.query); err != nil {
			return nil, fmt.Errorf("list rollups: %w", err)
		}
		all = append(all, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list rollups: %w", err)
	}
	return all, nil
}

var escapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func quote(s string) string { return "'" + escapes.Replace(s) + "'" }
