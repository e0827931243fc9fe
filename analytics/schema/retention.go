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

// Retain makes events forget: rows whose event time is more than so many days ago, by tenant. A tenant
// without days keeps its rows for ever, and what is not in days loses the rule it had. ClickHouse removes
// the rows as it merges parts, within some hours. It answers whether anything was to be changed.
//
// A backfill's rows may be old enough to go at once, also the last ones of the log. A sink that starts
// then finds its place before them: it writes them again, and they go again.
func (m *Migrator) Retain(ctx context.Context, days map[uuid.UUID]int) (changed bool, err error) {
	want := maps.Clone(days)
	maps.DeleteFunc(want, func(_ uuid.UUID, n int) bool { return n == 0 })
	have, err := m.retention(ctx)
	if err != nil || maps.Equal(have, want) {
		return false, err
	}
	// A change of the rules reads all of the table, so that it happens only where they differ.
	statement := "ALTER TABLE events REMOVE TTL"
	if len(want) > 0 {
		var rules []string
		for _, tenant := range slices.SortedFunc(maps.Keys(want), func(a, b uuid.UUID) int { return cmp.Compare(a.String(), b.String()) }) {
			// A UUID and a number need no quoting, and DDL takes no bound values.
			rules = append(rules, fmt.Sprintf("timestamp + toIntervalDay(%d) DELETE WHERE tenant_id = '%s'", want[tenant], tenant))
		}
		statement = "ALTER TABLE events MODIFY TTL " + strings.Join(rules, ", ")
	}
	if _, err := m.db.ExecContext(ctx, statement); err != nil {
		return false, fmt.Errorf("set the retention of events: %w", err)
	}
	return true, nil
}

// retention is the rules that events has.
func (m *Migrator) retention(ctx context.Context) (map[uuid.UUID]int, error) {
	var table string
	err := m.db.QueryRowContext(ctx, "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'events'").Scan(&table)
	if err != nil {
		return nil, fmt.Errorf("read the retention of events: %w", err)
	}
	days := map[uuid.UUID]int{}
	for _, rule := range retained.FindAllStringSubmatch(table, -1) {
		tenant, err := uuid.Parse(rule[2])
		if err != nil {
			return nil, fmt.Errorf("read the retention of events: %w", err)
		}
		if days[tenant], err = strconv.Atoi(rule[1]); err != nil {
			return nil, fmt.Errorf("read the retention of events: %w", err)
		}
	}
	return days, nil
}
