package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
)

const (
	checkNameColumns = "clickhouse"
	// partsWarn is far below where ClickHouse begins to slow inserts down (1000) and to refuse them (3000).
	partsWarn = 500
	diskWarn  = 0.15 // of a disk that is free
	diskStops = 0.03
)

func (d *Doctor) checkColumns(ctx context.Context) {
	if d.columns == nil {
		return
	}
	if err := d.columns.Ping(ctx); err != nil {
		d.report.add(checkNameColumns, Stops, "start ClickHouse or mend --clickhouse-dsn (native protocol); the sink waits and catches up", "does not answer: %v", redact(err))
		return
	}
	var version, user string
	var there time.Time
	before := time.Now()
	if err := d.columns.QueryRow(ctx, "SELECT version(), currentUser(), now64(6)").Scan(&version, &user, &there); err != nil {
		d.report.add(checkNameColumns, Stops, "mend ClickHouse", "cannot be asked: %v", redact(err))
		return
	}
	d.clock("ClickHouse", before, time.Now(), there, there)
	d.report.ok(checkNameColumns, "ClickHouse %s, as %s", version, user)
	if !d.checkColumnsSchema(ctx) {
		return
	}
	d.checkGrants(ctx, user)
	d.checkParts(ctx)
	d.checkDisks(ctx)
	d.checkReplicas(ctx)
}

func (d *Doctor) checkColumnsSchema(ctx context.Context) bool {
	err := schema.Check(ctx, d.columns)
	switch {
	case errors.Is(err, schema.ErrSchema):
		d.report.add("migrations", Stops, "run keystone migrate, with this build; or look with the build that runs", "%v", err)
	case err != nil:
		d.report.add("migrations", Stops, "let the account read schema_migrations", "ClickHouse: %v", redact(err))
	default:
		d.report.ok("migrations", "ClickHouse has this build's schema")
		d.checkShards(ctx)
	}
	return err == nil
}

// checkShards asks one server of each shard, where there are shards, for the schema that each has of its own.
func (d *Doctor) checkShards(ctx context.Context) {
	servers, err := shard.Open(d.cfg.ClickHouseDSN, 1)
	if err != nil {
		d.report.add("shards", Stops, "mend --clickhouse-dsn", "%v", redact(err))
		return
	}
	defer func() { _ = servers.Close() }() // only read from
	set, err := servers.Get(ctx)
	if err != nil {
		d.report.add("shards", Stops, "mend remote_servers of ClickHouse", "%v", redact(err))
		return
	}
	if set.Cluster == "" {
		return
	}
	for i, conn := range set.All() {
		err := schema.Check(ctx, conn)
		switch {
		case errors.Is(err, schema.ErrSchema):
			d.report.add("shards", Stops, "run keystone migrate, with this build", "shard %d: %v", i+1, err)
		case err != nil:
			d.report.add("shards", Stops, "start it, or mend remote_servers of ClickHouse; the sink's inserts into this shard wait, and no question is answered", "shard %d does not answer: %v", i+1, redact(err))
		default:
			d.report.ok("shards", "shard %d of %d has this build's schema", i+1, len(set.All()))
		}
	}
}

// grants are asked for one by one, so that the finding can name what is missing.
var grants = []string{"SELECT", "INSERT", "ALTER DELETE"}

func (d *Doctor) checkGrants(ctx context.Context, user string) {
	var missing []string
	for _, grant := range grants {
		var has uint8
		if err := d.columns.QueryRow(ctx, "CHECK GRANT "+grant+" ON events").Scan(&has); err != nil {
			d.report.add("permissions", Skipped, "", "ClickHouse: cannot be asked: %v", redact(err))
			return
		}
		if has == 0 {
			missing = append(missing, grant)
		}
	}
	if len(missing) > 0 {
		list := strings.Join(missing, ", ")
		d.report.add("permissions", Stops, "GRANT "+list+" on the database to "+user, "ClickHouse: %s may not %s", user, list)
		return
	}
	d.report.ok("permissions", "ClickHouse: %s may %s", user, strings.Join(grants, ", "))
}

func (d *Doctor) checkParts(ctx context.Context) {
	var table, partition string
	var most uint64
	err := d.columns.QueryRow(ctx, `SELECT argMax(table, n), argMax(partition, n), max(n) FROM
(SELECT table, partition, count() AS n FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table, partition)`).Scan(&table, &partition, &most)
	switch {
	case err != nil:
		d.report.add("parts", Skipped, "", "cannot be counted: %v", redact(err))
	case most >= partsWarn:
		d.report.add("parts", Warning, "look at system.merges and the disk: merges do not keep up; at 1000 parts inserts slow down, at 3000 they are refused", "partition %s of %s has %d parts", partition, table, most)
	default:
		d.report.ok("parts", "at most %d in a partition", most)
	}
}

func (d *Doctor) checkDisks(ctx context.Context) {
	rows, err := d.columns.Query(ctx, "SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0 AND NOT is_remote ORDER BY name")
	if err != nil {
		d.report.add("disk", Skipped, "", "ClickHouse: cannot be asked: %v", redact(err))
		return
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var free, total uint64
		if err = rows.Scan(&name, &free, &total); err != nil {
			break
		}
		d.space("ClickHouse's disk "+name, free, total, 0)
	}
	if err := errors.Join(err, rows.Err()); err != nil {
		d.report.add("disk", Skipped, "", "ClickHouse: cannot be asked: %v", redact(err))
	}
}

// space judges a disk, of which need bytes are promised to somebody.
func (d *Doctor) space(what string, free, total, need uint64) {
	share := float64(free) / float64(max(total, 1))
	text := fmt.Sprintf("%s has %s free of %s", what, size(free), size(total))
	switch {
	case share < diskStops:
		d.report.add("disk", Stops, "free or add space now: writes are about to fail", "%s", text)
	case free < need:
		d.report.add("disk", Warning, "free space, or allow less with --spool-bytes: the disk would be full before the spool is", "%s; the spool may take %s more", text, size(need))
	case share < diskWarn:
		d.report.add("disk", Warning, "free or add space", "%s", text)
	default:
		d.report.ok("disk", "%s", text)
	}
}

func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.4g %s", f, units[i])
}

func (d *Doctor) checkReplicas(ctx context.Context) {
	var readonly uint64
	var behind uint64
	err := d.columns.QueryRow(ctx, "SELECT countIf(is_readonly), max(absolute_delay) FROM system.replicas WHERE database = currentDatabase()").Scan(&readonly, &behind)
	switch {
	case err != nil:
		d.report.add("replicas", Skipped, "", "cannot be asked: %v", redact(err))
	case readonly > 0:
		d.report.add("replicas", Stops, "look at ClickHouse Keeper and system.replicas.zookeeper_exception; then SYSTEM RESTART REPLICA", "%d tables are read only on this server: it has lost its Keeper", readonly)
	case behind > 300:
		d.report.add("replicas", Warning, "look at system.replication_queue", "this replica is %d s behind", behind)
	}
}
