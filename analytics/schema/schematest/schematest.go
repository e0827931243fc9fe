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
	engines := schema.Engines{Cluster: enginetest.ClickHouseCluster()}
	for _, dsn := range enginetest.ShardDSNs(tb, dsn) {
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
