// Package schematest brings a test's ClickHouse to this build's schema.
package schematest

import (
	"errors"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// Migrate applies all migrations to the database of a clickhouse:// DSN.
func Migrate(tb testing.TB, dsn string) {
	tb.Helper()
	m, err := schema.New(dsn, schema.Engines{})
	if err != nil {
		tb.Fatal(err)
	}
	_, err = m.Up(tb.Context())
	if err := errors.Join(err, m.Close()); err != nil {
		tb.Fatal(err)
	}
}
