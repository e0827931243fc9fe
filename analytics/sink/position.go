package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Tables the sink writes.
const (
	tableEvents           = "events"
	tableIdentityMap      = "identity_map"
	tableProfiles         = "profiles"
	tableAttributeChanges = "attribute_changes"
	tableProfileMerges    = "profile_merges"
	tableOrders           = "orders"
	tableProducts         = "products"
	tablePositions        = "sink_positions"
	tableErasures         = "erasures"
	tableRemovedCopies    = "removed_copies"
)

// position is how far a partition is in the tables. Of keystone.changes it also holds what was taken
// of each source up to there; both are of one moment, so a restart from an older position does again
// exactly what was done after it.
type position struct {
	next     int64
	marks    marks
	logSince time.Time // rows loaded before are of another log; zero where there was none
	at       time.Time
}

// marks are, by source ("topic/partition"), the highest offset and sequence taken.
type marks map[string][2]int64

// savePositions writes positions, as one row each, to the shard that has the partition's events; also to
// those that answer where one does not.
func savePositions(ctx context.Context, servers *shard.Servers, positions map[tp]position) error {
	set, err := servers.Get(ctx)
	if err != nil {
		return err
	}
	rows := map[driver.Conn]map[tp]position{}
	for at, p := range positions {
		conn := set.Of(at.partition)
		if rows[conn] == nil {
			rows[conn] = map[tp]position{}
		}
		rows[conn][at] = p
	}
	for conn, positions := range rows {
		err = errors.Join(err, writePositions(ctx, conn, set.Local(tablePositions), positions))
	}
	return err
}

func writePositions(ctx context.Context, conn driver.Conn, table string, positions map[tp]position) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table+" (topic, partition, next_offset, marks, log_since, updated_at)")
	if err != nil {
		return fmt.Errorf("save positions: %w", err)
	}
	defer func() {
		if !batch.IsSent() {
			_ = batch.Abort() // the error that stopped us is the one to tell
		}
	}()
	for at, p := range positions {
		text, err := json.Marshal(p.marks)
		if err != nil {
			return fmt.Errorf("save position of %s: %w", at, err)
		}
		if err := batch.Append(at.topic, at.partition, p.next, string(text), schema.ColumnTime(p.logSince), p.at); err != nil {
			return fmt.Errorf("save position of %s: %w", at, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("save positions: %w", err)
	}
	return nil
}

// readPosition answers the saved position of a partition; zero where there is none.
func readPosition(ctx context.Context, conn driver.Conn, table string, at tp) (position, error) {
	// The table's name is one of ours.
	rows, err := conn.Query(ctx, `
SELECT next_offset, marks, log_since, updated_at FROM `+table+` FINAL WHERE topic = $1 AND partition = $2`, at.topic, at.partition)
	if err != nil {
		return position{}, fmt.Errorf("read position of %s: %w", at, err)
	}
	defer rows.Close()
	var p position
	for rows.Next() {
		var text string
		if err := rows.Scan(&p.next, &text, &p.logSince, &p.at); err != nil {
			return position{}, fmt.Errorf("read position of %s: %w", at, err)
		}
		if err := json.Unmarshal([]byte(text), &p.marks); err != nil {
			return position{}, fmt.Errorf("read marks of %s: %w", at, err)
		}
	}
	if err := rows.Err(); err != nil {
		return position{}, fmt.Errorf("read position of %s: %w", at, err)
	}
	return p, nil
}

// lastPosition is the one that was saved last, on whatever shard: the partition may have been another's
// before there were more.
func lastPosition(ctx context.Context, set *shard.Set, at tp) (last position, err error) {
	for _, conn := range set.All() {
		p, err := readPosition(ctx, conn, set.Local(tablePositions), at)
		if err != nil {
			return last, err
		}
		if p.at.After(last.at) { // as FINAL chooses on one server
			last = p
		}
	}
	return last, nil
}

// tableEnd is the offset after the last row a table has of a partition, looking from a position on;
// that position's offset where it has none. Inserts of a partition are whole and in order, so every
// row before the answer is there. All shards are asked: the partition may have been another's before
// there were more.
func tableEnd(ctx context.Context, set *shard.Set, table string, at tp, from position) (int64, error) {
	last := from.next
	for _, conn := range set.All() {
		var end int64
		// The table's name is one of ours.
		err := conn.QueryRow(ctx, `
SELECT if(count() = 0, $3, max(offset) + 1) FROM `+set.Local(table)+`
WHERE topic = $1 AND partition = $2 AND offset >= $3 AND loaded_at >= fromUnixTimestamp64Milli($4, 'UTC')`,
			at.topic, at.partition, from.next, schema.ColumnTime(from.logSince).UnixMilli()).Scan(&end)
		if err != nil {
			return 0, fmt.Errorf("read end of %s in %s: %w", at, table, err)
		}
		last = max(last, end)
	}
	return last, nil
}

// start is where to continue a partition and what is known of it.
type start struct {
	position
	// Offsets from which on the two tables of changes that must hold each row once lack rows.
	merges, lineage int64
	shards          int
}

// readStart asks ClickHouse how far a partition got. sink_positions is written every second or so
// and lags behind the tables, so the tables are asked too.
func readStart(ctx context.Context, servers *shard.Servers, at tp) (s start, err error) {
	set, err := servers.Get(ctx)
	if err != nil {
		return s, err
	}
	s.shards = len(set.All())
	for _, conn := range set.All() {
		if err := quiet(ctx, conn, at); err != nil {
			return s, err
		}
	}
	if s.position, err = lastPosition(ctx, set, at); err != nil {
		return s, err
	}
	if at.topic != event.TopicChanges {
		s.next, err = tableEnd(ctx, set, tableEvents, at, s.position)
		return s, err
	}
	if mark, err := lastPosition(ctx, set, rebuilding); err != nil {
		return s, err
	} else if err := mark.rebuilt(); err != nil {
		return s, err
	}
	// One record of changes goes to several tables, one after the other: all from the position on is
	// done again, but for the rows that would then be there twice.
	if s.merges, err = tableEnd(ctx, set, tableProfileMerges, at, s.position); err != nil {
		return s, err
	}
	s.lineage, err = tableEnd(ctx, set, tableAttributeChanges, at, s.position)
	return s, err
}

// quiet waits until no insert of the partition is running: one whose process died, or was slow to
// see that it lost the partition, may still come to its end, and must be seen by what is read next.
// (It sees the server it is connected to.)
func quiet(ctx context.Context, conn driver.Conn, at tp) error {
	for {
		var running uint64
		err := conn.QueryRow(ctx, `SELECT count() FROM system.processes WHERE startsWith(query_id, $1)`, queryPrefix(at)).Scan(&running)
		if err != nil {
			return fmt.Errorf("look for running inserts of %s: %w", at, err)
		}
		if running == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for running inserts of %s: %w", at, ctx.Err())
		case <-time.After(minBackoff):
		}
	}
}
