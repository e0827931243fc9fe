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

// moved is the part about older rows, stored the table's setting.
var (
	moved  = regexp.MustCompile(`loaded_at \+ toIntervalDay\((\d+)\) TO VOLUME '(\w+)'`)
	stored = regexp.MustCompile(`storage_policy = '(\w+)'`)
)

// timed are the tables that forget with events: the rollups of it, the day counting from its end.
var timed = []struct {
	table, column string
	more          int // days that the column's value comes before the row's own end
}{{"events", "timestamp", 0}, {"touches", "timestamp", 0}, {"active_nodes", "day", 1}, {"page_days", "day", 1}, {"removed_copies", "day", 1}}

// Retain makes events and their rollups forget: rows whose event time is more than so many days ago, by tenant. A tenant
// without days keeps its rows for ever, and what is not in days loses the rule it had. ClickHouse removes
// the rows as it merges parts, within some hours. It answers whether anything was to be changed.
//
// A backfill's rows may be old enough to go at once, also the last ones of the log. A sink that starts
// then finds its place before them: it writes them again, and they go again.
func (m *Migrator) Retain(ctx context.Context, days map[uuid.UUID]int) (changed bool, err error) {
	for _, x := range timed {
		have, err := m.rules(ctx, x.table)
		if err != nil {
			return false, err
		}
		want := have
		want.days = map[uuid.UUID]int{}
		for tenant, n := range days {
			if n != 0 {
				want.days[tenant] = n + x.more
			}
		}
		did, err := m.setRules(ctx, x.column, have, want)
		if err != nil {
			return changed, fmt.Errorf("set the retention of %s: %w", x.table, err)
		}
		changed = changed || did
	}
	return changed, nil
}

// rules are what a table does with rows that grow old.
type rules struct {
	table    string            // on a cluster, a shard's part
	policy   string            // storage policy; empty is the server's default
	days     map[uuid.UUID]int // after which a tenant's rows are removed, by event time
	volume   string            // of the policy, for old rows; empty is none
	coldDays int               // from their loading on, after which they go there
}

// setRules changes a table's rules where they differ: a change reads all of the table. It answers whether
// anything was to be changed.
func (m *Migrator) setRules(ctx context.Context, column string, have, want rules) (bool, error) {
	if maps.Equal(have.days, want.days) && have.volume == want.volume && have.coldDays == want.coldDays {
		return false, nil
	}
	_, err := m.db.ExecContext(ctx, want.statement(column))
	return err == nil, err
}

// statement is the one that sets a table's rules. A UUID and a number need no quoting, names were
// checked, and DDL takes no bound values.
func (r rules) statement(column string) string {
	var list []string
	for _, tenant := range slices.SortedFunc(maps.Keys(r.days), func(a, b uuid.UUID) int { return cmp.Compare(a.String(), b.String()) }) {
		list = append(list, fmt.Sprintf("%s + toIntervalDay(%d) DELETE WHERE tenant_id = '%s'", column, r.days[tenant], tenant))
	}
	if r.volume != "" {
		list = append(list, fmt.Sprintf("loaded_at + toIntervalDay(%d) TO VOLUME '%s'", r.coldDays, r.volume))
	}
	if len(list) == 0 {
		return "ALTER TABLE " + r.table + " REMOVE TTL"
	}
	return "ALTER TABLE " + r.table + " MODIFY TTL " + strings.Join(list, ", ")
}

// rules are those that a table has.
func (m *Migrator) rules(ctx context.Context, name string) (rules, error) {
	r := rules{days: map[uuid.UUID]int{}}
	var create string
	err := m.db.QueryRowContext(ctx, `SELECT name, create_table_query FROM system.tables
		WHERE database = currentDatabase() AND name IN (?, ?) ORDER BY name DESC LIMIT 1`, name, name+LocalSuffix).Scan(&r.table, &create)
	if err != nil {
		return r, fmt.Errorf("read the retention of %s: %w", name, err)
	}
	for _, rule := range retained.FindAllStringSubmatch(create, -1) {
		tenant, err := uuid.Parse(rule[2])
		if err != nil {
			return r, fmt.Errorf("read the retention of %s: %w", name, err)
		}
		if r.days[tenant], err = strconv.Atoi(rule[1]); err != nil {
			return r, fmt.Errorf("read the retention of %s: %w", name, err)
		}
	}
	if rule := moved.FindStringSubmatch(create); rule != nil {
		r.volume = rule[2]
		if r.coldDays, err = strconv.Atoi(rule[1]); err != nil {
			return r, fmt.Errorf("read the tiering of %s: %w", name, err)
		}
	}
	if setting := stored.FindStringSubmatch(create); setting != nil {
		r.policy = setting[1]
	}
	return r, nil
}
