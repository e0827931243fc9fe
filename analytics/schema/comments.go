package schema

import (
	"context"
	"fmt"
	"strings"
)

// uncommented are columns of views, and of tables of all shards, that say nothing, with what a table says of the column of that
// name. (All columns of one name mean one thing; min makes the choice the same every time.)
const uncommented = `
SELECT v.table, v.name, t.text
FROM (
	SELECT table, name, position FROM system.columns
	WHERE database = currentDatabase() AND comment = ''
		AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine IN ('View', 'Distributed'))
) AS v
JOIN (
	SELECT name, argMin(comment, table != 'events') AS text FROM system.columns
	WHERE database = currentDatabase() AND comment != '' GROUP BY name
) AS t ON t.name = v.name
ORDER BY v.table, v.position`

// untold are tables of all shards that say nothing, with what their parts say.
const untold = `
SELECT t.name, p.comment FROM system.tables AS t
JOIN (SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND comment != '') AS p ON p.name = concat(t.name, '` + LocalSuffix + `')
WHERE t.database = currentDatabase() AND t.engine = 'Distributed' AND t.comment = ''`

// commentViews gives the columns of views the comments of the tables' columns they pass on, which
// ClickHouse does not do by itself.
func (m *Migrator) commentViews(ctx context.Context) error {
	rows, err := m.db.QueryContext(ctx, uncommented)
	if err != nil {
		return fmt.Errorf("list columns without comment: %w", err)
	}
	defer rows.Close()
	changes := map[string][]string{}
	if err := m.commentShards(ctx, changes); err != nil {
		return err
	}
	for rows.Next() {
		var view, column, comment string
		if err := rows.Scan(&view, &column, &comment); err != nil {
			return fmt.Errorf("list columns without comment: %w", err)
		}
		changes[view] = append(changes[view], "COMMENT COLUMN "+quoteName(column)+" "+quoteText(comment))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list columns without comment: %w", err)
	}
	for view, list := range changes {
		if _, err := m.db.ExecContext(ctx, "ALTER TABLE "+quoteName(view)+" "+strings.Join(list, ", ")); err != nil {
			return fmt.Errorf("comment view %s: %w", view, err)
		}
	}
	return nil
}

func (m *Migrator) commentShards(ctx context.Context, changes map[string][]string) error {
	rows, err := m.db.QueryContext(ctx, untold)
	if err != nil {
		return fmt.Errorf("list tables without comment: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var table, comment string
		if err := rows.Scan(&table, &comment); err != nil {
			return fmt.Errorf("list tables without comment: %w", err)
		}
		changes[table] = append(changes[table], "MODIFY COMMENT "+quoteText(comment))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list tables without comment: %w", err)
	}
	return nil
}

func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "\\`") + "`" }

var textEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func quoteText(s string) string { return "'" + textEscapes.Replace(s) + "'" }
