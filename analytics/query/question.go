package query

import (
	"context"
	"embed"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

//go:embed questions/*.sql
var questionFiles embed.FS

// maxAnswerRows bounds what Ask reads of an answer.
const maxAnswerRows = 10_000

// Question is one an analyst asks about a tenant.
type Question struct {
	Title string
	SQL   string // with the parameter {tenant:UUID}
}

// Answer is a small table of text.
type Answer struct {
	Columns []string
	Rows    [][]string
}

// Questions are those of the demo. Each is also in COOKBOOK.md.
func Questions() ([]Question, error) {
	entries, err := questionFiles.ReadDir("questions")
	if err != nil {
		return nil, fmt.Errorf("list questions: %w", err)
	}
	questions := make([]Question, 0, len(entries))
	for _, entry := range entries {
		text, err := questionFiles.ReadFile("questions/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read question: %w", err)
		}
		first, sql, _ := strings.Cut(string(text), "\n")
		title, ok := strings.CutPrefix(first, "-- title: ")
		if !ok {
			return nil, fmt.Errorf("read question: %s has no title", entry.Name())
		}
		questions = append(questions, Question{Title: title, SQL: strings.TrimSpace(sql)})
	}
	return questions, nil
}

// Ask asks a question about a tenant.
func Ask(ctx context.Context, conn driver.Conn, q Question, tenant uuid.UUID) (Answer, error) {
	return Table(ctx, conn, q.SQL, map[string]string{"tenant": tenant.String()})
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
		return fmt.Sprint(v)
	}
}
