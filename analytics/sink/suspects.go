package sink

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/shard"
)

// maxSuspects bounds the rows that wait to be looked up; a look-up is one or two queries.
const maxSuspects = 1000

// A repetition is the same event, so it is found by the table's primary key: a read of one granule.
const lookUpByKey = `
SELECT tenant_id, message_id FROM %s
WHERE (tenant_id, toDate(timestamp), event_name, profile_node, message_id)
	IN (SELECT tenant_id, day, event_name, profile_node, message_id FROM suspects)`

// A client may repeat a message with another time, name or identity. What the key did not find is
// looked for by message id alone, through its skip index; next to nothing gets here.
const lookUpByID = `
SELECT tenant_id, message_id FROM %s
WHERE message_id IN (SELECT message_id FROM suspects) AND tenant_id IN (SELECT tenant_id FROM suspects)`

// suspects are rows whose message may be in the table already. They are set aside until the table
// has been asked.
type suspects []row

// add takes a row, whose texts are the decoder's. Those of suspects are kept in t.
func (s *suspects) add(r *row, t *texts) {
	own := *r
	own.products = slices.Clone(r.products)
	for i := range own.products {
		own.products[i] = view(t.keep([]byte(own.products[i])))
	}
	for i := range own.text {
		own.text[i] = view(t.keep([]byte(own.text[i])))
	}
	*s = append(*s, own)
}

// known answers which of the suspects' messages are in the table.
func (s suspects) known(ctx context.Context, servers *shard.Servers) (map[message]bool, error) {
	set, err := servers.Get(ctx)
	if err != nil {
		return nil, err
	}
	known := map[message]bool{}
	for _, query := range []string{lookUpByKey, lookUpByID} {
		for _, conn := range set.All() {
			s = slices.DeleteFunc(slices.Clone(s), func(r row) bool { return known[r.message()] })
			if len(s) == 0 {
				return known, nil
			}
			if err := s.lookUp(ctx, conn, fmt.Sprintf(query, set.Local(tableEvents)), known); err != nil {
				return nil, err
			}
		}
	}
	return known, nil
}

func (s suspects) lookUp(ctx context.Context, conn driver.Conn, query string, known map[message]bool) error {
	table, err := s.table()
	if err != nil {
		return err
	}
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(table)), query)
	if err != nil {
		return fmt.Errorf("look up messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.tenant, &m.id); err != nil {
			return fmt.Errorf("look up messages: %w", err)
		}
		known[m] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look up messages: %w", err)
	}
	return nil
}

// table sends the suspects along with a query.
func (s suspects) table() (*ext.Table, error) {
	table, err := ext.NewTable("suspects", ext.Column("tenant_id", "UUID"), ext.Column("day", "Date"),
		ext.Column("event_name", "String"), ext.Column("profile_node", "UUID"), ext.Column("message_id", "String"))
	if err != nil {
		return nil, fmt.Errorf("look up messages: %w", err)
	}
	for i := range s {
		r := &s[i]
		if err := table.Append(r.tenant, r.timestamp.Truncate(24*time.Hour), r.text[colEventName], r.profileNode, r.text[colMessageID]); err != nil {
			return nil, fmt.Errorf("look up messages: %w", err)
		}
	}
	return table, nil
}

func (r *row) message() message { return message{r.tenant, r.text[colMessageID]} }
