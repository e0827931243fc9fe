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
	MigrateTo(tb, dsn, schema.Engines{})
}

// MigrateTo does so with engines of the test's choice.
func MigrateTo(tb testing.TB, dsn string, engines schema.Engines) {
	tb.Helper()
	m, err := schema.New(dsn, engines)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = m.Up(tb.Context())
	if err := errors.Join(err, m.Close()); err != nil {
		tb.Fatal(err)
	}
}
