// Package resolved_test holds the view events_resolved to the processor's reference model, and measures
// it against the same questions asked of the table events.
package resolved_test

import (
	"os"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func migrate(tb testing.TB, dsn string) {
	tb.Helper()
	m, err := schema.New(dsn, schema.Engines{})
	if err != nil {
		tb.Fatal(err)
	}
	_, err = m.Up(tb.Context())
	if closeErr := m.Close(); err != nil || closeErr != nil {
		tb.Fatal(err, closeErr)
	}
}
