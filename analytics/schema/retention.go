package schema

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// retained is a tenant's part of the TTL of events, as ClickHouse writes it.
var retained = regexp.MustCompile(`toIntervalDay\((\d+)\) (?:DELETE )?WHERE tenant_id = '([0-9a-f-]{36})'`)

// timed are the tables that forget with events: the rollups of it, the day counting from its end.
var timed = []struct {
	table, column string
	more          int // days that the column's value comes before the row's own end
}{{"events", "timestamp", 0}, {"touches", "timestamp", 0}, {"active_nodes", "day", 1}, {"page_days", "day", 1}}

// Retain makes events and their rollups forget: rows whose event time is more than so many days ago, by tenant. A tenant
// without days keeps its rows for ever, and what is not in days loses the rule it had. ClickHouse removes
// the rows as it merges parts, within some hours. It answers whether anything was to be changed.
//
// A backfill's rows may be old enough to go at once, also the last ones of the log. A sink that starts
// then finds its place before them: it writes them again, and they go again.
func (m *Migrator) Retain(ctx context.Context, days map[uuid.UUID]int) (changed bool, err error) {
	for _, x := range timed {
		want := map[uuid.UUID]int{}
		for tenant, n := range days {
			if n != 0 {
				want[tenant] = n + x.more
			}
		}
		have, err := m.retention(ctx, x.table)
		if err != nil {
			return false, err
		}
		// A change of the rules reads all of the table, so that it happens only where they differ.
		if maps.Equal(have, want) {
			continue
		}
		if _, err := m.db.ExecContext(ctx, retain(x.table, x.column, want)); err != nil {
			return false, fmt.Errorf("set the retention of %s: %w", x.table, err)
		}
		changed = true
	}
	return changed, nil
}

// retain is the statement that sets a table's rules. A UUID and a number need no quoting, and DDL takes
// no bound values.
func retain(table, column string, days map[uuid.UUID]int) string {
	if len(days) == 0 {
		return "ALTER TABLE " + table + " REMOVE TTL"
	}
	var rules []string
	for _, tenant := range slices.SortedFunc(maps.Keys(days), func(a, b uuid.UUID) int { return cmp.Compare(a.String(), b.String()) }) {
		rules = append(rules, fmt.Sprintf("%s + toIntervalDay(%d) DELETE WHERE tenant_id = '%s'", column, days[tenant], tenant))
	}
	return "ALTER TABLE " + table + " MODIFY TTL " + strings.Join(rules, ", ")
}

// retention is the rules that a table has.
func (m *Migrator) retention(ctx context.Context, name string) (map[uuid.UUID]int, error) {
	var table string
	err := m.db.QueryRowContext(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = ?", name).Scan(&table)
	if err != nil {
		return nil, fmt.Errorf("read the retention of %s: %w", name, err)
	}
	days := map[uuid.UUID]int{}
	for _, rule := range retained.FindAllStringSubmatch(table, -1) {
		tenant, err := uuid.Parse(rule[2])
		if err != nil {
			return nil, fmt.Errorf("read the retention of %s: %w", name, err)
		}
		if days[tenant], err = strconv.Atoi(rule[1]); err != nil {
			return nil, fmt.Errorf("read the retention of %s: %w", name, err)
		}
	}
	return days, nil
}
