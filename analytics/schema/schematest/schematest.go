// Package schematest brings a test's ClickHouse to this build's schema.
package schematest

import (
	"errors"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// Migrate applies all migrations to the database of a clickhouse:// DSN, on all shards where the tests run
// on shards.
func Migrate(tb testing.TB, dsn string) {
	tb.Helper()
	MigrateTo(tb, schema.Engines{Cluster: enginetest.ClickHouseCluster()}, enginetest.ShardDSNs(tb, dsn)...)
}

// MigrateTo applies them with engines of the test's choice to the databases of one server or of all shards.
func MigrateTo(tb testing.TB, engines schema.Engines, dsns ...string) {
	tb.Helper()
	for _, dsn := range dsns {
		m, err := schema.New(dsn, engines)
		if err != nil {
			tb.Fatal(err)
		}
		_, err = m.Up(tb.Context())
		if err := errors.Join(err, m.Close()); err != nil {
			tb.Fatal(err)
		}
	}
}
