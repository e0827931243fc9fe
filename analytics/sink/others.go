package sink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/internal/event"
)

// others follows the partitions that other processes bring into the table, so that a message is found
// that came before by one of those. Two copies that two processes take within a second of each other
// are in the table both; who reads of the other's row then sees that it has the message too, and takes
// the later one out again.
type others struct {
	conn     driver.Conn
	messages *messages
	metrics  *metrics
	window   time.Duration
	limit    int
	now      func() time.Time

	mu   sync.Mutex // held over the queries too: the rebalance and the saver take turns
	next map[tp]int64
}

// The new rows of a partition, with what tells whether we had their messages.
const newRows = `
SELECT offset, xxHash64(concat(toString(tenant_id), message_id)) FROM events
WHERE topic = $1 AND partition = $2 AND offset >= $3 AND loaded_at >= fromUnixTimestamp64Milli($4, 'UTC') AND message_id != ''`

// remember sees to it that the messages a partition has in the table are remembered: the window's at
// first, afterwards those that are new since.
func (o *others) remember(ctx context.Context, at tp) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	from, known := o.next[at]
	if known {
		return o.follow(ctx, at, from)
	}
	end, err := tableEnd(ctx, o.conn, tableEvents, at, position{})
	if err != nil {
		return err
	}
	if err := rememberTable(ctx, o.conn, o.messages, at, o.now(), o.window, o.limit); err != nil {
		return err
	}
	o.next[at] = end
	return nil
}

// take says that a partition is ours now: what comes into the table of it, we know.
func (o *others) take(at tp) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.next, at)
}

// leave says that a partition is another's from an offset on.
func (o *others) leave(at tp, from int64) {
	if at.topic == event.TopicChanges {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next[at] = from
}

func (o *others) follow(ctx context.Context, at tp, from int64) error {
	now := o.now()
	rows, err := o.conn.Query(ctx, newRows, at.topic, at.partition, from, now.Add(-o.window).UnixMilli())
	if err != nil {
		return fmt.Errorf("read new messages of %s: %w", at, err)
	}
	defer rows.Close()
	next := from
	var hashes []uint64
	var twice []int64
	for rows.Next() {
		var offset int64
		var hash uint64
		if err := rows.Scan(&offset, &hash); err != nil {
			return fmt.Errorf("read new messages of %s: %w", at, err)
		}
		if o.messages.has(hash) {
			twice = append(twice, offset)
		}
		hashes = append(hashes, hash)
		next = max(next, offset+1)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read new messages of %s: %w", at, err)
	}
	for some := range slices.Chunk(twice, maxSuspects) {
		if err := o.settle(ctx, at, some); err != nil {
			return err
		}
	}
	o.messages.remember(now, hashes)
	o.next[at] = next
	return nil
}

// The copies of the messages of some rows, but for the first of each: the same ones whoever asks.
const laterCopies = `
SELECT c.2, c.3, c.4 FROM
(
	SELECT arrayJoin(arraySlice(arraySort(groupArray((received_at, topic, partition, offset))), 2)) AS c
	FROM events
	WHERE (tenant_id, message_id) IN (SELECT tenant_id, message_id FROM events WHERE topic = $1 AND partition = $2 AND offset IN $3)
	GROUP BY tenant_id, message_id
)`

// settle takes the later copies of messages out of the table that two processes took at once.
func (o *others) settle(ctx context.Context, at tp, offsets []int64) error {
	rows, err := o.conn.Query(ctx, laterCopies, at.topic, at.partition, offsets)
	if err != nil {
		return fmt.Errorf("look for copies of messages of %s: %w", at, err)
	}
	defer rows.Close()
	later := map[tp][]int64{}
	for rows.Next() {
		var copyAt tp
		var offset int64
		if err := rows.Scan(&copyAt.topic, &copyAt.partition, &offset); err != nil {
			return fmt.Errorf("look for copies of messages of %s: %w", at, err)
		}
		later[copyAt] = append(later[copyAt], offset)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for copies of messages of %s: %w", at, err)
	}
	for copyAt, offsets := range later {
		if err := o.conn.Exec(ctx, "DELETE FROM events WHERE topic = $1 AND partition = $2 AND offset IN $3", copyAt.topic, copyAt.partition, offsets); err != nil {
			return fmt.Errorf("take copies of messages of %s out: %w", at, err)
		}
		o.metrics.settled.Add(float64(len(offsets)))
	}
	return nil
}
