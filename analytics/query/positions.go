package query

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Position is how far the sink got in one partition of the log: everything before NextOffset is in
// the tables.
type Position struct {
	Topic      string
	Partition  int32
	NextOffset int64
}

// The saved positions lag behind the tables by a second; events say better, as far as they reach.
const positions = `
WITH saved AS (SELECT topic, partition, next_offset, log_since FROM sink_positions FINAL)
SELECT topic, partition, max(next) FROM
(
	SELECT topic, partition, next_offset AS next FROM saved
	UNION ALL
	SELECT e.topic, e.partition, max(e.offset) + 1 AS next
	FROM (
		SELECT topic, partition, offset, loaded_at FROM events
		WHERE offset >= (SELECT min(next_offset) FROM saved WHERE topic != 'keystone.changes')
	) AS e
	JOIN saved ON saved.topic = e.topic AND saved.partition = e.partition
	WHERE e.offset >= saved.next_offset AND e.loaded_at >= saved.log_since
	GROUP BY e.topic, e.partition
)
GROUP BY topic, partition ORDER BY topic, partition`

// Positions answers how far the sink got, by topic and partition. A partition it has never moved in
// is not among them.
func Positions(ctx context.Context, conn driver.Conn) ([]Position, error) {
	rows, err := conn.Query(ctx, positions)
	if err != nil {
		return nil, fmt.Errorf("read sink positions: %w", err)
	}
	defer rows.Close()
	var all []Position
	for rows.Next() {
		var p Position
		if err := rows.Scan(&p.Topic, &p.Partition, &p.NextOffset); err != nil {
			return nil, fmt.Errorf("read sink positions: %w", err)
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read sink positions: %w", err)
	}
	return all, nil
}
