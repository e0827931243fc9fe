package transfer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// table is one to be copied. Names of tables and columns are the migrations' own, so that they go into
// statements as they are.
type table struct {
	name    string
	target  string   // what it is called at the destination
	where   string   // what holds for the rows that belong there
	columns []string // that are stored
	key     string   // the sorting key
	state   bool     // of a current state: of each key the newest row counts

	rows   int64
	along  int64  // offsets in a chunk; 0: the table is not cut along the log
	chunk  string // the expression that tells a row's chunk
	chunks []string
	prints map[string]print
}

// tables are those that hold rows, but for what the migrations keep for themselves and what
// materialized views fill: the destination's views fill theirs.
func (s *side) tables(ctx context.Context) (all []table, err error) {
	err = s.lines(ctx, `
SELECT name, sorting_key, engine LIKE '%ReplacingMergeTree' FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND engine NOT LIKE '%AggregatingMergeTree'
    AND engine NOT LIKE '%SummingMergeTree' AND name != 'schema_migrations' ORDER BY name`, func(c []string) error {
		all = append(all, table{name: c[0], target: c[0], where: "1", key: c[1], state: c[2] == "1"})
		return nil
	})
	for i := range all {
		t := &all[i]
		if err == nil {
			err = s.lines(ctx, `
SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '`+t.name+`' AND default_kind NOT IN ('ALIAS', 'MATERIALIZED')
ORDER BY position`, func(c []string) error {
				t.columns = append(t.columns, c[0])
				return nil
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list the source's tables: %w", err)
	}
	return all, nil
}

// cut decides on the chunks and takes their prints. Rows that have a place in the log are cut along
// it, which an index helps to find; others by the hash of their key.
func (t *table) cut(ctx context.Context, from *side, chunkRows int64) (err error) {
	if slices.Contains(t.columns, "offset") {
		t.along = chunkRows
		t.chunk = fmt.Sprintf("concat(topic, '/', toString(partition), '/', toString(intDiv(offset, %d)))", chunkRows)
	} else {
		if err := from.lines(ctx, "SELECT count() FROM "+t.name+" WHERE "+t.where, func(c []string) error {
			t.rows, err = strconv.ParseInt(c[0], 10, 64)
			return err
		}); err != nil {
			return fmt.Errorf("count %s: %w", t.name, err)
		}
		t.chunk = fmt.Sprintf("toString(cityHash64(%s) %% %d)", t.key, t.rows/chunkRows+1)
	}
	if t.prints, err = from.prints(ctx, t.here()); err != nil {
		return fmt.Errorf("read %s: %w", t.name, err)
	}
	t.chunks = slices.Sorted(maps.Keys(t.prints))
	t.rows = 0
	for _, p := range t.prints {
		t.rows += p.rows
	}
	return nil
}

// rowsOf is the table as it counts.
func (t *table) rowsOf(name string) string {
	if t.state {
		return name + " FINAL"
	}
	return name
}

// here and there are the table's prints at the source, and at the destination, where rows that do not belong
// show.
func (t *table) here() string  { return t.selectPrints(t.name, t.where) }
func (t *table) there() string { return t.selectPrints(t.target, "1") }

func (t *table) list() string { return strings.Join(t.columns, ", ") }

// selectPrints is a row for each chunk: its name, its rows and the sum of their hashes. The sum is of
// what the columns hold, whatever their order in the table.
func (t *table) selectPrints(name, where string) string {
	return fmt.Sprintf("SELECT %s AS chunk, count(), sum(cityHash64(formatRow('RowBinary', %s))) FROM %s WHERE %s GROUP BY chunk", t.chunk, t.list(), t.rowsOf(name), where)
}

func (t *table) selectChunk(chunk string) string {
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s FORMAT Native", t.list(), t.rowsOf(t.name), t.inChunk(chunk))
}

func (t *table) insert() string {
	return fmt.Sprintf("INSERT INTO %s (%s) FORMAT Native", t.target, t.list())
}

// inChunk is the condition of a chunk, with one that an index knows where there is one.
func (t *table) inChunk(chunk string) string {
	condition := fmt.Sprintf("%s AND %s = '%s'", t.where, t.chunk, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(chunk))
	if t.along == 0 {
		return condition
	}
	number := chunk[strings.LastIndexByte(chunk, '/')+1:]
	return fmt.Sprintf("offset >= %s * %d AND offset < (%s + 1) * %d AND %s", number, t.along, number, t.along, condition)
}
