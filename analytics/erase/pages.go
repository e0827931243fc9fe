package erase

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/shard"
)

const pageKey = "cityHash64(day, host, path, topic, partition)"

// page is an address on one day.
type page struct {
	day        time.Time
	host, path string
}

// row is a row of page_days on one shard, by hash, and how many views it has of others.
type row struct{ key, others uint64 }

// pages are the rows of page_days that count nothing but views of the person's, by hash: an address may be
// personal that nobody else ever opened. What others opened too stays as it was counted: places in the log.
// A copy of a message that was taken out of events again is nobody's view; it may have been on another shard
// than the event that stayed, so each shard is asked about the pages of all.
func (p *Person) pages(ctx context.Context, set *shard.Set) ([]uint64, error) {
	// One statement for all nodes would be too long; a page that two parts of a mega-profile share, and
	// nobody else, stays.
	alone := map[uint64]bool{}
	for _, condition := range p.events() {
		text := strings.NewReplacer("CONDITION", condition, "TENANT", p.Tenant.String(), "EVENTS", set.Local("events"),
			"PAGE_DAYS", set.Local("page_days"), "REMOVED_COPIES", set.Local("removed_copies"))
		opened, err := gather(set, func(conn driver.Conn) ([]page, error) { return opened(ctx, conn, text.Replace(openedPages)) })
		if err != nil {
			return nil, err
		}
		rows, err := gather(set, func(conn driver.Conn) ([]row, error) { return counted(ctx, conn, text.Replace(countedPages), opened) })
		if err != nil {
			return nil, err
		}
		// A partition's rows are on two shards where shards were added. They are removed of both, or of none.
		some := map[uint64]bool{}
		for _, r := range rows {
			before, asked := some[r.key]
			some[r.key] = r.others == 0 && (before || !asked)
		}
		for key, theirs := range some {
			alone[key] = alone[key] || theirs
		}
	}
	var found []uint64
	for key, theirs := range alone {
		if theirs {
			found = append(found, key)
		}
	}
	slices.Sort(found) // the same statement, when it is said again
	return found, nil
}

// pageDays removes the pages. They are asked for when no rollup can be filled from the person's views any more:
// once events has lost those, nobody could tell whose page came back.
func (r *remover) pageDays(ctx context.Context) error {
	if err := r.hide(ctx); err != nil {
		return fmt.Errorf("hide views from the rollups: %w", err)
	}
	if err := r.quiet(ctx); err != nil {
		return err
	}
	pages, err := r.pages(ctx, r.set)
	if err != nil {
		return err
	}
	return r.remove(ctx, "page_days", r.hashes(pageKey, pages))
}

// hide makes the person's views those of a bot, which no rollup takes. They are gone from events in a moment; until
// then they, too, tell whose the pages are, also to who goes on after this one was stopped.
func (r *remover) hide(ctx context.Context) error {
	conditions := joined(r.events())
	for i, condition := range conditions {
		conditions[i] = "event_type = 'page' AND device_class != 'bot' AND (" + condition + ")"
	}
	rows, err := count(ctx, r.set, "events", conditions)
	if err != nil {
		return err
	}
	return r.change(ctx, "events", "UPDATE device_class = 'bot'", conditions, rows)
}

const openedPages = `
SELECT DISTINCT toDate(timestamp), toString(host), path FROM EVENTS WHERE event_type = 'page' AND CONDITION`

func opened(ctx context.Context, conn driver.Conn, query string) (all []page, err error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p page
		if err := rows.Scan(&p.day, &p.host, &p.path); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// The pages come along with the question: in its text they would be in the server's logs.
const countedPages = `
WITH mine AS
(
	SELECT toDate(timestamp) AS day, toString(host) AS host, path, topic, partition, groupBitmapState(toUInt64(offset)) AS theirs
	FROM EVENTS
	WHERE event_type = 'page' AND CONDITION
	GROUP BY day, host, path, topic, partition
)
SELECT cityHash64(counted.day, counted.host, counted.path, counted.topic, counted.partition),
	toUInt64(bitmapAndnotCardinality(bitmapAndnot(counted.all, mine.theirs), removed.copies))
FROM
(
	SELECT day, host, path, topic, partition, groupBitmapMergeState(offsets) AS all
	FROM PAGE_DAYS
	WHERE tenant_id = 'TENANT' AND (day, host, path) IN (SELECT day, host, path FROM opened)
	GROUP BY day, host, path, topic, partition
) AS counted
LEFT JOIN mine
	ON counted.day = mine.day AND counted.host = mine.host AND counted.path = mine.path AND counted.topic = mine.topic
		AND counted.partition = mine.partition
LEFT JOIN
(
	SELECT day, topic, partition, groupBitmapState(toUInt64(offset)) AS copies
	FROM REMOVED_COPIES
	WHERE tenant_id = 'TENANT'
	GROUP BY day, topic, partition
) AS removed
	ON counted.day = removed.day AND counted.topic = removed.topic AND counted.partition = removed.partition`

func counted(ctx context.Context, conn driver.Conn, query string, opened []page) (all []row, err error) {
	if len(opened) == 0 {
		return nil, nil
	}
	table, err := ext.NewTable("opened", ext.Column("day", "Date"), ext.Column("host", "String"), ext.Column("path", "String"))
	if err != nil {
		return nil, err
	}
	for _, p := range opened {
		if err := table.Append(p.day, p.host, p.path); err != nil {
			return nil, err
		}
	}
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(table)), query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.key, &r.others); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}
