package schema

import (
	"context"
	"fmt"
	"strings"
)

// uncommented are columns of views that say nothing, with what a table says of the column of that
// name. (All columns of one name mean one thing; min makes the choice the same every time.)
const uncommented = `
SELECT v.table, v.name, t.text
FROM (
	SELECT table, name, position FROM system.columns
	WHERE database = currentDatabase() AND comment = ''
		AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View')
) AS v
JOIN (
	SELECT name, argMin(comment, table != 'events') AS text FROM system.columns
	WHERE database = currentDatabase() AND comment != '' GROUP BY name
) AS t ON t.name = v.name
ORDER BY v.table, v.position`

// commentViews gives the columns of views the comments of the tables' columns they pass on, which
// ClickHouse does not do by itself.
func (m *Migrator) commentViews(ctx context.Context) error {
	rows, err := m.db.QueryContext(ctx, uncommented)
	if err != nil {
		return fmt.Errorf("list columns without comment: %w", err)
	}
	defer rows.Close()
	changes := map[string][]string{}
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

func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "\\`") + "`" }

var textEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func quoteText(s string) string { return "'" + textEscapes.Replace(s) + "'" }
