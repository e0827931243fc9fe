package sink

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/sink/seen"
)

// rememberBlock is how many hashes are added under one hold of the lock.
const rememberBlock = 10_000

// clockSkew is by how much the clock of another sink may be ahead of ours.
const clockSkew = 24 * time.Hour

// Hours of a partition, the newest first, to see how far back memory allows to go.
const hoursOf = `
SELECT toStartOfHour(loaded_at) AS hour, count() FROM %s
WHERE topic = $1 AND partition = $2 AND loaded_at >= fromUnixTimestamp64Milli($3, 'UTC')
GROUP BY hour ORDER BY hour DESC`

const hashesOf = `
SELECT xxHash64(concat(toString(tenant_id), message_id)) FROM %s
WHERE topic = $1 AND partition = $2 AND loaded_at >= fromUnixTimestamp64Milli($3, 'UTC') AND loaded_at < fromUnixTimestamp64Milli($4, 'UTC') AND message_id != ''`

// rememberTable brings back the messages of a partition that are in the table, the window's at most
// and limit at most, the newest first in line.
func rememberTable(ctx context.Context, conn driver.Conn, table string, m *messages, at tp, now time.Time, window time.Duration, limit int) error {
	from, err := reach(ctx, conn, table, at, now.Add(-window), limit)
	if err != nil {
		return err
	}
	// In as many steps as there are generations, so that what is older is forgotten earlier.
	step := max(now.Sub(from)/seen.Generations, time.Second)
	for ; !from.After(now); from = from.Add(step) {
		to := from.Add(step)
		if to.After(now) {
			to = now.Add(clockSkew)
		}
		if err := rememberSpan(ctx, conn, table, m, at, from, to); err != nil {
			return err
		}
	}
	return nil
}

// reach is the time from which on the partition's messages number about limit at most, not before
// since. Without any messages it is after now.
func reach(ctx context.Context, conn driver.Conn, table string, at tp, since time.Time, limit int) (time.Time, error) {
	from := time.Unix(1<<40, 0)
	rows, err := conn.Query(ctx, fmt.Sprintf(hoursOf, table), at.topic, at.partition, since.UnixMilli())
	if err != nil {
		return from, fmt.Errorf("count messages of %s: %w", at, err)
	}
	defer rows.Close()
	var total uint64
	for rows.Next() && total < uint64(limit) {
		var n uint64
		if err := rows.Scan(&from, &n); err != nil {
			return from, fmt.Errorf("count messages of %s: %w", at, err)
		}
		total += n
	}
	if err := rows.Err(); err != nil {
		return from, fmt.Errorf("count messages of %s: %w", at, err)
	}
	return from, nil
}

func rememberSpan(ctx context.Context, conn driver.Conn, table string, m *messages, at tp, from, to time.Time) error {
	rows, err := conn.Query(ctx, fmt.Sprintf(hashesOf, table), at.topic, at.partition, from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return fmt.Errorf("read messages of %s: %w", at, err)
	}
	defer rows.Close()
	hashes := make([]uint64, 0, rememberBlock)
	for rows.Next() {
		var h uint64
		if err := rows.Scan(&h); err != nil {
			return fmt.Errorf("read messages of %s: %w", at, err)
		}
		if hashes = append(hashes, h); len(hashes) == cap(hashes) {
			m.remember(from, hashes)
			hashes = hashes[:0]
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read messages of %s: %w", at, err)
	}
	m.remember(from, hashes)
	return nil
}
