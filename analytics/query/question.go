package query

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// maxAnswerRows bounds what Table reads of an answer.
const maxAnswerRows = 10_000

// Question is one an analyst asks.
type Question struct {
	Title string
	SQL   string // with parameters: {tenant:UUID}
}

// Answer is a small table of text.
type Answer struct {
	Columns []string
	Rows    [][]string
}

// Table runs a query with named parameters and gives its result as text: NULL is empty, decimals are
// exact, times are UTC.
func Table(ctx context.Context, conn driver.Conn, sql string, parameters map[string]string) (Answer, error) {
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithParameters(parameters)), sql)
	if err != nil {
		return Answer{}, fmt.Errorf("ask clickhouse: %w", err)
	}
	defer rows.Close()
	a := Answer{Columns: rows.Columns()}
	types := rows.ColumnTypes()
	values := make([]any, len(types))
	for rows.Next() && len(a.Rows) < maxAnswerRows {
		for i, c := range types {
			values[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(values...); err != nil {
			return Answer{}, fmt.Errorf("read clickhouse's answer: %w", err)
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = text(reflect.ValueOf(v), types[i].DatabaseTypeName())
		}
		a.Rows = append(a.Rows, texts)
	}
	if err := rows.Err(); err != nil {
		return Answer{}, fmt.Errorf("read clickhouse's answer: %w", err)
	}
	return a, nil
}

// text is a scanned value as people read it.
func text(v reflect.Value, databaseType string) string {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch v := v.Interface().(type) {
	case time.Time:
		if strings.Contains(databaseType, "Time") {
			return v.UTC().Format(time.DateTime)
		}
		return v.Format(time.DateOnly)
	default:
		return strings.TrimPrefix(fmt.Sprint(v), "map")
	}
}
