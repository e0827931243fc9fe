package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// probes are ways around the filters that some ClickHouse has left open, with what an analyst would
// see. None must work. (What remains is how much there is of all tenants together: rows and bytes of
// a table in system.tables, the names of its parts by mergeTreeAnalyzeIndexes.)
var probes = []struct{ sql, sees string }{
	{"SELECT * FROM mergeTreeIndex(currentDatabase(), (SELECT max(name) FROM system.tables WHERE database = currentDatabase() AND name IN ('events', 'events_local'))) LIMIT 1",
		"the keys of one row in 8192 of every tenant (day, event name, node) by the table function mergeTreeIndex; closed in ClickHouse 26.3.22.6, 26.5.8.18, 26.6.4.10, 26.7.6.5"},
	{"SELECT throwIf(uniqExact(tenant_id) < 2) FROM events",
		"other tenants' rows: another server of the cluster does not know the filters, and is asked with more rights than the analyst's (give remote_servers a secret, and all servers the same users)"},
	{"SELECT file('/etc/hostname')", "files of the server by the function file"},
	{"SELECT * FROM file('/etc/hostname', LineAsString)", "files of the server by the table function file"},
	{"SELECT * FROM url('http://127.0.0.1:9/', LineAsString)", "other servers by the table function url"},
	{"SELECT * FROM remote('127.0.0.1:9000', currentDatabase(), 'events')", "other servers by the table function remote"},
	{"SELECT * FROM sink_positions LIMIT 1", "the sink's own tables"},
	{"SELECT * FROM system.query_log LIMIT 1", "what others ask, by system.query_log"},
	{"SELECT * FROM system.processes LIMIT 1", "what others ask now, by system.processes"},
	{"SELECT * FROM system.parts LIMIT 1", "how much others have, by system.parts"},
}

// Holes tries to get around the filters, with an analyst's own connection, and tells what it has seen
// so. Anything it tells of is a reason not to hand the login out.
func Holes(ctx context.Context, analyst driver.Conn) ([]string, error) {
	if err := analyst.Ping(ctx); err != nil {
		return nil, fmt.Errorf("log in as the analyst: %w", err)
	}
	var holes []string
	for _, p := range probes {
		rows, err := analyst.Query(ctx, p.sql)
		if err == nil {
			for rows.Next() {
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		if err == nil {
			holes = append(holes, p.sees)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return holes, nil
}
