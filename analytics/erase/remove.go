package erase

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/rollup"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
)

// Remove removes the person's rows, table by table, each from all shards before the next one. It tells how
// many there are of each before it removes them: who is stopped then knows it. The order matters to one who
// is stopped half-way: what tells of other rows goes last, and may tell of another shard's. Her events tell which
// pages are hers, and rollups are filled from them: so that no sink brings a page back in between, they are no
// rollup's any more before the first page goes.
//
// Every shard is told the same. A Replicated database of several shards passes an ALTER … DELETE on to all
// of them, so that no condition may be true of one shard only.
func Remove(ctx context.Context, set *shard.Set, p *Person, tell func(table string, rows uint64) error) error {
	r := &remover{Person: p, set: set, tell: tell}
	if err := set.First().QueryRow(ctx, replicatedTables, set.Local("events")).Scan(&r.replicated); err != nil {
		return fmt.Errorf("look at the tables' engines: %w", err)
	}
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

const replicatedTables = `
SELECT count() > 0 FROM system.tables WHERE database = currentDatabase() AND name = $1 AND startsWith(engine, 'Replicated')`

// Count is how many rows Remove would remove, by table, old versions of rows included.
func Count(ctx context.Context, set *shard.Set, p *Person) (map[string]uint64, error) {
	second, err := p.second(ctx, set)
	if err != nil {
		return nil, err
	}
	orders, err := p.orders(ctx, set)
	if err != nil {
		return nil, err
	}
	pages, err := p.pages(ctx, set)
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
		rows, err := count(ctx, set, table, joined(conditions))
		if err != nil {
			return nil, err
		}
		all[table] = total(table, rows)
	}
	return all, nil
}

// remover is one Remove.
type remover struct {
	*Person
	set  *shard.Set
	tell func(table string, rows uint64) error
	// A replica that was away when something was removed does it when it is back. Until then those that are
	// asked count nothing any more: so where there are replicas nothing is left out for want of rows, and is
	// waited for once more.
	replicated bool
}

// of is the step of a table that conditions are enough for.
func (r *remover) of(table string, conditions []string) func(context.Context) error {
	return func(ctx context.Context) error { return r.remove(ctx, table, conditions) }
}

// remove removes the rows for which a condition holds, old versions included, from every part; it waits
// until that is done. Conditions and names are this package's own.
func (r *remover) remove(ctx context.Context, table string, conditions []string) error {
	conditions = joined(conditions)
	rows, err := count(ctx, r.set, table, conditions)
	if err != nil {
		return err
	}
	if err := r.tell(table, total(table, rows)); err != nil {
		return err
	}
	return r.change(ctx, table, "DELETE", conditions, rows)
}

// change changes the rows for which a condition holds, of which there are so many on each shard.
func (r *remover) change(ctx context.Context, table, how string, conditions []string, rows []uint64) error {
	return r.set.Each(func(i int, conn driver.Conn) error {
		if rows[i] == 0 && !r.replicated {
			return nil
		}
		for _, condition := range conditions {
			if err := mutate(ctx, conn, "ALTER TABLE "+r.set.Local(table)+" "+how+" WHERE "+condition); err != nil {
				return err
			}
		}
		return nil
	})
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

// count is how many rows there are on each shard. A row that two statements concern counts twice.
func count(ctx context.Context, set *shard.Set, table string, conditions []string) ([]uint64, error) {
	rows := make([]uint64, len(set.All()))
	err := set.Each(func(i int, conn driver.Conn) error {
		for _, condition := range conditions {
			var some uint64
			if err := conn.QueryRow(ctx, "SELECT count() FROM "+set.Local(table)+" WHERE "+condition).Scan(&some); err != nil {
				return fmt.Errorf("count rows of %s: %w", table, err)
			}
			rows[i] += some
		}
		return nil
	})
	return rows, err
}

// total is how many rows a table has of those of each shard: what is whole on every shard counts once.
func total(table string, rows []uint64) (n uint64) {
	for _, some := range rows {
		if schema.Whole(table) {
			n = max(n, some)
		} else {
			n += some
		}
	}
	return n
}

// mutate waits for all replicas, and fails where one is away.
func mutate(ctx context.Context, conn driver.Conn, statement string) error {
	return conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 2})), statement)
}

// rawEvents also removes, from the disk, what the sink took out before as a duplicate: such rows are
// only marked, and nobody sees whose they are.
func (r *remover) rawEvents(ctx context.Context) error {
	second, err := r.second(ctx, r.set)
	if err != nil {
		return err
	}
	if err := r.remove(ctx, "events", append(r.events(), r.places(second)...)); err != nil {
		return err
	}
	events := r.set.Local("events")
	return r.set.Each(func(_ int, conn driver.Conn) error {
		var marked uint64
		if err := conn.QueryRow(ctx, `
SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = $1 AND active AND has_lightweight_delete`, events).Scan(&marked); err != nil {
			return fmt.Errorf("look for parts with marked rows: %w", err)
		}
		if marked == 0 && !r.replicated {
			return nil
		}
		return mutate(ctx, conn, "ALTER TABLE "+events+" APPLY DELETED MASK")
	})
}

// touched waits for who may be filling the rollups from rows of events that are gone now: a sink does so
// at its start.
func (r *remover) touched(ctx context.Context) error {
	if err := r.quiet(ctx); err != nil {
		return err
	}
	return r.remove(ctx, "touches", r.touches())
}

// quiet waits until nobody fills rollups from what events had before the last change.
func (r *remover) quiet(ctx context.Context) error {
	return r.set.Each(func(_ int, conn driver.Conn) error { return quiet(ctx, conn) })
}

func quiet(ctx context.Context, conn driver.Conn) error {
	for {
		var running uint64
		if err := conn.QueryRow(ctx, `
SELECT count() FROM system.processes
WHERE current_database = currentDatabase() AND match(query, '^INSERT INTO (touches|active_nodes|page_days)(`+schema.LocalSuffix+`)? ')`).Scan(&running); err != nil {
			return fmt.Errorf("look for who fills rollups: %w", err)
		}
		if running == 0 {
			return nil
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
	return r.set.Each(func(_ int, conn driver.Conn) error {
		for _, condition := range r.theirNodes() {
			if err := rollup.Add(ctx, conn, r.set.Layout, "active_nodes", condition); err != nil {
				return err
			}
		}
		return nil
	})
}

const orderKey = "cityHash64(order_id)"

// orders are those that are the person's now, by hash: their older versions may be another's. All versions of
// one are on one shard.
func (p *Person) orders(ctx context.Context, set *shard.Set) ([]uint64, error) {
	return gather(set, func(conn driver.Conn) (found []uint64, err error) {
		for _, condition := range p.profiles("profile_id") {
			some, err := numbers(ctx, conn, "SELECT "+orderKey+" FROM "+set.Local("orders")+" FINAL WHERE "+condition)
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
		return found, nil
	})
}

func (r *remover) ordered(ctx context.Context) error {
	orders, err := r.orders(ctx, r.set)
	if err != nil {
		return err
	}
	return r.remove(ctx, "orders", append(r.hashes(orderKey, orders), r.profiles("profile_id")...))
}

// gather asks all shards, and puts their answers together.
func gather[T any](set *shard.Set, ask func(driver.Conn) ([]T, error)) ([]T, error) {
	parts := make([][]T, len(set.All()))
	err := set.Each(func(i int, conn driver.Conn) (err error) {
		parts[i], err = ask(conn)
		return err
	})
	return slices.Concat(parts...), err
}

func numbers(ctx context.Context, conn driver.Conn, query string) (all []uint64, err error) {
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

// PartsUntil is when the last part is gone from all disks that a removal of now has replaced.
func PartsUntil(ctx context.Context, set *shard.Set, now time.Time) (time.Time, error) {
	seconds := make([]uint64, len(set.All()))
	err := set.Each(func(i int, conn driver.Conn) error {
		return conn.QueryRow(ctx, "SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'").Scan(&seconds[i])
	})
	if err != nil {
		return now, fmt.Errorf("read how long replaced parts stay: %w", err)
	}
	return now.Add(time.Duration(slices.Max(seconds)) * time.Second), nil
}
