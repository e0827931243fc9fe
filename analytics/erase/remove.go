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

// Remove removes the person's rows, table by table. It tells how many there are of each before it removes
// them: who is stopped then knows it. The order matters to one who is stopped half-way: what tells of other
// rows goes last.
func Remove(ctx context.Context, conn driver.Conn, p *Person, tell func(table string, rows uint64) error) error {
	r := &remover{Person: p, conn: conn, tell: tell}
	for _, step := range []struct {
		table string
		run   func(context.Context) error
	}{
		{"page_days", r.pageDays},
		{"events", r.rawEvents},
		{"touches", r.touched},
		{"active_nodes", r.active},
		{"orders", r.ordered},
		{"attribute_changes", r.of("attribute_changes", p.profiles("profile_id"))},
		{"profile_merges", r.of("profile_merges", p.profiles("winner_id", "loser_id"))},
		{"profiles", r.of("profiles", p.profiles("profile_id"))},
		{"identity_map", r.of("identity_map", p.identityMap())},
	} {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("remove from %s: %w", step.table, err)
		}
	}
	return nil
}

// Count is how many rows Remove would remove, by table, old versions of rows included.
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
		if all[table], err = count(ctx, conn, table, joined(conditions)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// remover is one Remove.
type remover struct {
	*Person
	conn driver.Conn
	tell func(table string, rows uint64) error
}

// of is the step of a table that conditions are enough for.
func (r *remover) of(table string, conditions []string) func(context.Context) error {
	return func(ctx context.Context) error { return r.remove(ctx, table, conditions) }
}

// remove removes the rows for which a condition holds, old versions included, from every part; it waits
// until that is done. Conditions and names are this package's own.
func (r *remover) remove(ctx context.Context, table string, conditions []string) error {
	conditions = joined(conditions)
	rows, err := count(ctx, r.conn, table, conditions)
	if err != nil {
		return err
	}
	if err := r.tell(table, rows); err != nil || rows == 0 {
		return err
	}
	for _, condition := range conditions {
		if err := mutate(ctx, r.conn, "ALTER TABLE "+table+" DELETE WHERE "+condition); err != nil {
			return err
		}
	}
	return nil
}

// statementBytes bounds the text of one statement: ClickHouse takes 256 KiB.
const statementBytes = 200_000

// joined are as few conditions as fit into statements: each costs a pass over the table.
func joined(conditions []string) (all []string) {
	for _, c := range conditions {
		if n := len(all); n > 0 && len(all[n-1])+len(c) < statementBytes {
			all[n-1] += " OR " + c
			continue
		}
		all = append(all, c)
	}
	return all
}

// count is how many rows there are. A row that two statements concern counts twice.
func count(ctx context.Context, conn driver.Conn, table string, conditions []string) (n uint64, err error) {
	for _, condition := range conditions {
		var some uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+table+" WHERE "+condition).Scan(&some); err != nil {
			return 0, fmt.Errorf("count rows of %s: %w", table, err)
		}
		n += some
	}
	return n, nil
}

// mutate waits for all replicas.
func mutate(ctx context.Context, conn driver.Conn, statement string) error {
	return conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 2})), statement)
}

// rawEvents also removes, from the disk, what the sink took out before as a duplicate: such rows are
// only marked, and nobody sees whose they are.
func (r *remover) rawEvents(ctx context.Context) error {
	second, err := r.second(ctx, r.conn)
	if err != nil {
		return err
	}
	if err := r.remove(ctx, "events", append(r.events(), r.places(second)...)); err != nil {
		return err
	}
	var marked uint64
	if err := r.conn.QueryRow(ctx, `
SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active AND has_lightweight_delete`).Scan(&marked); err != nil {
		return fmt.Errorf("look for parts with marked rows: %w", err)
	}
	if marked == 0 {
		return nil
	}
	return mutate(ctx, r.conn, "ALTER TABLE events APPLY DELETED MASK")
}

// touched waits for who may be filling the rollups from rows of events that are gone now: a sink does so
// at its start.
func (r *remover) touched(ctx context.Context) error {
	for {
		var running uint64
		if err := r.conn.QueryRow(ctx, `
SELECT count() FROM system.processes
WHERE current_database = currentDatabase() AND match(query, '^INSERT INTO (touches|active_nodes|page_days) ')`).Scan(&running); err != nil {
			return fmt.Errorf("look for who fills rollups: %w", err)
		}
		if running == 0 {
			return r.remove(ctx, "touches", r.touches())
		}
		select {
		case <-time.After(awaitPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *remover) active(ctx context.Context) error {
	if err := r.remove(ctx, "active_nodes", r.activeNodes()); err != nil {
		return err
	}
	for _, condition := range r.theirNodes() {
		if err := rollup.Add(ctx, r.conn, "active_nodes", condition); err != nil {
			return err
		}
	}
	return nil
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

func (r *remover) ordered(ctx context.Context) error {
	orders, err := r.orders(ctx, r.conn)
	if err != nil {
		return err
	}
	return r.remove(ctx, "orders", append(r.hashes(orderKey, orders), r.profiles("profile_id")...))
}

const pageKey = "cityHash64(day, host, path, topic, partition)"

// pages are the rows of page_days that count nothing but views of the person's, by hash: an address may be
// personal that nobody else ever opened. What others opened too stays as it was counted: places in the log.
// A copy of a message that was taken out of events again is nobody's view.
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
SELECT cityHash64(counted.day, counted.host, counted.path, counted.topic, counted.partition)
FROM
(
	SELECT day, host, path, topic, partition, groupBitmapMergeState(offsets) AS all
	FROM page_days
	WHERE tenant_id = 'TENANT' AND (day, host, path) IN (SELECT day, host, path FROM mine)
	GROUP BY day, host, path, topic, partition
) AS counted
LEFT JOIN mine
	ON counted.day = mine.day AND counted.host = mine.host AND counted.path = mine.path AND counted.topic = mine.topic
		AND counted.partition = mine.partition
LEFT JOIN
(
	SELECT day, topic, partition, groupBitmapState(toUInt64(offset)) AS copies
	FROM removed_copies
	WHERE tenant_id = 'TENANT'
	GROUP BY day, topic, partition
) AS removed
	ON counted.day = removed.day AND counted.topic = removed.topic AND counted.partition = removed.partition
WHERE bitmapAndnotCardinality(bitmapAndnot(counted.all, mine.theirs), removed.copies) = 0`))
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func (r *remover) pageDays(ctx context.Context) error {
	pages, err := r.pages(ctx, r.conn)
	if err != nil {
		return err
	}
	return r.remove(ctx, "page_days", r.hashes(pageKey, pages))
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
