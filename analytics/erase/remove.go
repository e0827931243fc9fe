package erase

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/rollup"
)

// Remove removes the person's rows, table by table; done is told of each when it is over, with how many
// there were. The order matters to one who is stopped half-way: what tells of other rows goes last.
func Remove(ctx context.Context, conn driver.Conn, p *Person, done func(table string, rows uint64) error) error {
	for _, step := range []struct {
		table string
		run   func(context.Context, driver.Conn) (uint64, error)
	}{
		{"page_days", p.removePages},
		{"events", p.removeEvents},
		{"touches", p.removeTouches},
		{"active_nodes", p.removeActive},
		{"orders", p.removeOrders},
		{"attribute_changes", of("attribute_changes", p.profiles("profile_id"))},
		{"profile_merges", of("profile_merges", p.profiles("winner_id", "loser_id"))},
		{"profiles", of("profiles", p.profiles("profile_id"))},
		{"identity_map", of("identity_map", p.identityMap())},
	} {
		rows, err := step.run(ctx, conn)
		if err != nil {
			return fmt.Errorf("remove from %s: %w", step.table, err)
		}
		if err := done(step.table, rows); err != nil {
			return err
		}
	}
	return nil
}

// Count is how many rows Remove would remove, by table.
func Count(ctx context.Context, conn driver.Conn, p *Person) (map[string]uint64, error) {
	second, err := p.second(ctx, conn)
	if err != nil {
		return nil, err
	}
	orders, err := p.orders(ctx, conn)
	if err != nil {
		return nil, err
	}
	pages, err := p.pages(ctx, conn)
	if err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for table, conditions := range map[string][]string{
		"page_days": p.hashes(pageKey, pages), "events": append(p.events(), p.places(second)...), "touches": p.touches(),
		"active_nodes": p.activeNodes(), "orders": append(p.hashes(orderKey, orders), p.profiles("profile_id")...),
		"attribute_changes": p.profiles("profile_id"), "profile_merges": p.profiles("winner_id", "loser_id"),
		"profiles": p.profiles("profile_id"), "identity_map": p.identityMap(),
	} {
		for _, condition := range conditions {
			n, err := count(ctx, conn, table, condition)
			if err != nil {
				return nil, err
			}
			all[table] += n
		}
	}
	return all, nil
}

// of is the step of a table that conditions are enough for.
func of(table string, conditions []string) func(context.Context, driver.Conn) (uint64, error) {
	return func(ctx context.Context, conn driver.Conn) (uint64, error) {
		return remove(ctx, conn, table, conditions)
	}
}

// remove removes the rows for which a condition holds, old versions included, from every part; it waits
// until that is done. Conditions and names are this package's own.
func remove(ctx context.Context, conn driver.Conn, table string, conditions []string) (removed uint64, err error) {
	for _, condition := range conditions {
		n, err := count(ctx, conn, table, condition)
		if err != nil {
			return removed, err
		}
		if n == 0 {
			continue
		}
		if err := mutate(ctx, conn, "ALTER TABLE "+table+" DELETE WHERE "+condition); err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

func count(ctx context.Context, conn driver.Conn, table, condition string) (n uint64, err error) {
	if err := conn.QueryRow(ctx, "SELECT count() FROM "+table+" WHERE "+condition).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rows of %s: %w", table, err)
	}
	return n, nil
}

// mutate waits for all replicas.
func mutate(ctx context.Context, conn driver.Conn, statement string) error {
	return conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 2})), statement)
}

// removeEvents also removes, from the disk, what the sink took out before as a duplicate: such rows are
// only marked, and nobody sees whose they are.
func (p *Person) removeEvents(ctx context.Context, conn driver.Conn) (uint64, error) {
	second, err := p.second(ctx, conn)
	if err != nil {
		return 0, err
	}
	removed, err := remove(ctx, conn, "events", append(p.events(), p.places(second)...))
	if err != nil {
		return removed, err
	}
	var marked uint64
	if err := conn.QueryRow(ctx, `
SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active AND has_lightweight_delete`).Scan(&marked); err != nil {
		return removed, fmt.Errorf("look for parts with marked rows: %w", err)
	}
	if marked > 0 {
		err = mutate(ctx, conn, "ALTER TABLE events APPLY DELETED MASK")
	}
	return removed, err
}

// removeTouches waits for who may be filling the rollups from rows of events that are gone now: a sink
// does so at its start.
func (p *Person) removeTouches(ctx context.Context, conn driver.Conn) (uint64, error) {
	for {
		var running uint64
		if err := conn.QueryRow(ctx, `
SELECT count() FROM system.processes
WHERE current_database = currentDatabase() AND match(query, '^INSERT INTO (touches|active_nodes|page_days) ')`).Scan(&running); err != nil {
			return 0, fmt.Errorf("look for who fills rollups: %w", err)
		}
		if running == 0 {
			return remove(ctx, conn, "touches", p.touches())
		}
		select {
		case <-time.After(awaitPoll):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *Person) removeActive(ctx context.Context, conn driver.Conn) (uint64, error) {
	removed, err := remove(ctx, conn, "active_nodes", p.activeNodes())
	if err != nil {
		return removed, err
	}
	for _, condition := range p.of() {
		if err := rollup.Add(ctx, conn, "active_nodes", condition); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

const orderKey = "cityHash64(order_id)"

// orders are those that are the person's now, by hash: their older versions may be another's.
func (p *Person) orders(ctx context.Context, conn driver.Conn) (found []uint64, err error) {
	for _, condition := range p.profiles("profile_id") {
		some, err := hashes(ctx, conn, "SELECT "+orderKey+" FROM orders FINAL WHERE "+condition)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func (p *Person) removeOrders(ctx context.Context, conn driver.Conn) (uint64, error) {
	orders, err := p.orders(ctx, conn)
	if err != nil {
		return 0, err
	}
	return remove(ctx, conn, "orders", append(p.hashes(orderKey, orders), p.profiles("profile_id")...))
}

const pageKey = "cityHash64(day, host, path, topic, partition)"

// pages are the rows of page_days that count nothing but views of the person's, by hash: an address may be
// personal that nobody else ever opened. What others opened too stays as it was counted: places in the log.
func (p *Person) pages(ctx context.Context, conn driver.Conn) ([]uint64, error) {
	// One statement for all nodes would be too long; a page that two parts of a mega-profile share, and
	// nobody else, stays.
	var found []uint64
	for _, condition := range p.events() {
		some, err := hashes(ctx, conn, strings.NewReplacer("CONDITION", condition, "TENANT", p.Tenant.String()).Replace(`
WITH mine AS
(
	SELECT toDate(timestamp) AS day, toString(host) AS host, path, topic, partition, groupBitmapState(toUInt64(offset)) AS theirs
	FROM events
	WHERE event_type = 'page' AND CONDITION
	GROUP BY day, host, path, topic, partition
)
SELECT cityHash64(mine.day, mine.host, mine.path, mine.topic, mine.partition)
FROM mine
INNER JOIN
(
	SELECT day, host, path, topic, partition, groupBitmapMergeState(offsets) AS all
	FROM page_days
	WHERE tenant_id = 'TENANT' AND (day, host, path, topic, partition) IN (SELECT day, host, path, topic, partition FROM mine)
	GROUP BY day, host, path, topic, partition
) AS counted
	ON counted.day = mine.day AND counted.host = mine.host AND counted.path = mine.path AND counted.topic = mine.topic
		AND counted.partition = mine.partition
WHERE bitmapAndnotCardinality(counted.all, mine.theirs) = 0`))
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func (p *Person) removePages(ctx context.Context, conn driver.Conn) (uint64, error) {
	pages, err := p.pages(ctx, conn)
	if err != nil {
		return 0, err
	}
	return remove(ctx, conn, "page_days", p.hashes(pageKey, pages))
}

func hashes(ctx context.Context, conn driver.Conn, query string) (all []uint64, err error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h uint64
		if err := rows.Scan(&h); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

// PartsUntil is when the last part is gone from the disk that a removal of now has replaced.
func PartsUntil(ctx context.Context, conn driver.Conn, now time.Time) (time.Time, error) {
	var seconds uint64
	err := conn.QueryRow(ctx, "SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'").Scan(&seconds)
	if err != nil {
		return now, fmt.Errorf("read how long replaced parts stay: %w", err)
	}
	return now.Add(time.Duration(seconds) * time.Second), nil
}
