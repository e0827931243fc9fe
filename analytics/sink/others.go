package sink

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// others follows the partitions that other processes bring into the table, so that a message is found
// that came before by one of those. Two copies that two processes take within a second of each other
// are in the table both; who reads of the other's row then sees that it has the message too, and takes
// the later one out again.
type others struct {
	servers  *shard.Servers
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
SELECT offset, xxHash64(concat(toString(tenant_id), message_id)) FROM %s
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
	set, err := o.servers.Get(ctx)
	if err != nil {
		return err
	}
	end, err := tableEnd(ctx, set, tableEvents, at, position{})
	if err != nil {
		return err
	}
	for _, conn := range set.All() { // it may have been another shard's before there were more
		if err := rememberTable(ctx, conn, set.Local(tableEvents), o.messages, at, o.now(), o.window, o.limit); err != nil {
			return err
		}
	}
	for i := range set.All() {
		if err := o.settleNoted(ctx, set, place{at, i}); err != nil {
			return err
		}
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
	set, err := o.servers.Get(ctx)
	if err != nil {
		return err
	}
	here := place{at, shard.OfPartition(at.partition, len(set.All()))}
	rows, err := set.All()[here.shard].Query(ctx, fmt.Sprintf(newRows, set.Local(tableEvents)), at.topic, at.partition, from, now.Add(-o.window).UnixMilli())
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
		if err := o.settle(ctx, set, here, some); err != nil {
			return err
		}
	}
	o.messages.remember(now, hashes)
	o.next[at] = next
	return nil
}

const messagesOf = `
SELECT DISTINCT tenant_id, message_id FROM %s WHERE topic = $1 AND partition = $2 AND offset IN $3`

const copiesOf = `
SELECT tenant_id, message_id, received_at, topic, partition, offset FROM %s
WHERE (tenant_id, message_id) IN (SELECT tenant_id, message_id FROM messages)`

// messageCopy is one row of a message that may be there more than once.
type messageCopy struct {
	place
	offset   int64
	received time.Time
}

// place is a partition's rows on a shard.
type place struct {
	tp
	shard int
}

// What the rollups have to leave out is noted down first: whatever fails in between is done again as a whole.
const noteCopies = `
INSERT INTO %s (tenant_id, day, topic, partition, offset)
SELECT tenant_id, toDate(timestamp), topic, partition, offset FROM %s WHERE ` + atOffsets

const atOffsets = `topic = $1 AND partition = $2 AND offset IN $3`

// settle takes the later copies of messages out of the table that two processes took at once: all but
// the first of each, the same ones whoever asks.
func (o *others) settle(ctx context.Context, set *shard.Set, at place, offsets []int64) error {
	copies, err := o.copies(ctx, set, at, offsets)
	if err != nil {
		return fmt.Errorf("look for copies of messages of %s: %w", at, err)
	}
	later := map[place][]int64{}
	for _, all := range copies {
		slices.SortFunc(all, func(a, b messageCopy) int {
			return cmp.Or(a.received.Compare(b.received), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
		})
		for _, c := range all[1:] {
			later[c.place] = append(later[c.place], c.offset)
		}
	}
	for p, offsets := range later {
		conn, events := set.All()[p.shard], set.Local(tableEvents)
		err := conn.Exec(ctx, fmt.Sprintf(noteCopies, set.Local(tableRemovedCopies), events), p.topic, p.partition, offsets)
		if err == nil {
			err = conn.Exec(ctx, "DELETE FROM "+events+" WHERE "+atOffsets, p.topic, p.partition, offsets)
		}
		if err != nil {
			return fmt.Errorf("take copies of messages of %s out: %w", at, err)
		}
		o.metrics.settled.Add(float64(len(offsets)))
	}
	return nil
}

const notedCopies = `
SELECT offset FROM %s
WHERE topic = $1 AND partition = $2 AND loaded_at >= fromUnixTimestamp64Milli($3, 'UTC') AND message_id != ''
	AND offset IN (SELECT offset FROM %s WHERE topic = $1 AND partition = $2)`

// settleNoted does again what a process has not done that died after it had noted copies down. The note alone takes
// nothing out: in another log its place is another event's, and all events without an id would be one message.
// A note is where its row is, which may be another shard than the partition's, from before there were more.
func (o *others) settleNoted(ctx context.Context, set *shard.Set, at place) error {
	rows, err := set.All()[at.shard].Query(ctx, fmt.Sprintf(notedCopies, set.Local(tableEvents), set.Local(tableRemovedCopies)),
		at.topic, at.partition, o.now().Add(-o.window).UnixMilli())
	if err != nil {
		return fmt.Errorf("read noted copies of %s: %w", at, err)
	}
	defer rows.Close()
	var left []int64
	for rows.Next() {
		var offset int64
		if err := rows.Scan(&offset); err != nil {
			return fmt.Errorf("read noted copies of %s: %w", at, err)
		}
		left = append(left, offset)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read noted copies of %s: %w", at, err)
	}
	for some := range slices.Chunk(left, maxSuspects) {
		if err := o.settle(ctx, set, at, some); err != nil {
			return err
		}
	}
	return nil
}

// copies are all rows, on any shard, of the messages of some.
func (o *others) copies(ctx context.Context, set *shard.Set, at place, offsets []int64) (map[message][]messageCopy, error) {
	rows, err := set.All()[at.shard].Query(ctx, fmt.Sprintf(messagesOf, set.Local(tableEvents)), at.topic, at.partition, offsets)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	asked, err := ext.NewTable("messages", ext.Column("tenant_id", "UUID"), ext.Column("message_id", "String"))
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var tenant uuid.UUID
		var id string
		if err := rows.Scan(&tenant, &id); err != nil {
			return nil, err
		}
		if err := asked.Append(tenant, id); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	all := map[message][]messageCopy{}
	for i, conn := range set.All() {
		if err := copiesOn(ctx, conn, set.Local(tableEvents), i, asked, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func copiesOn(ctx context.Context, conn driver.Conn, table string, shard int, asked *ext.Table, all map[message][]messageCopy) error {
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(asked)), fmt.Sprintf(copiesOf, table))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		m, c := message{}, messageCopy{place: place{shard: shard}}
		if err := rows.Scan(&m.tenant, &m.id, &c.received, &c.topic, &c.partition, &c.offset); err != nil {
			return err
		}
		all[m] = append(all[m], c)
	}
	return rows.Err()
}
