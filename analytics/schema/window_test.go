package schema

import (
	"errors"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/migration"
)

// A migration that takes something away says so (docs/upgrade.md).
func TestMigrationsSayWhatTheyTakeAway(t *testing.T) {
	found, err := migration.Unmarked(sources, sourceDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, taken := range found {
		t.Errorf("%s takes something away (%s): let it add only, and take away in a migration of its own with -- keystone:contract", name, taken)
	}
	steps, err := Steps()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if step.Offline {
			t.Errorf("migration %d wants all processes to be stopped", step.Version)
		}
	}
}

func TestCheckOfTheSchema(t *testing.T) {
	ch := enginetest.ClickHouse(t)
	m, err := New(ch.NativeDSN, Engines{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	options, err := clickhouse.ParseDSN(ch.NativeDSN)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Check(t.Context(), conn); !errors.Is(err, ErrSchema) {
		t.Errorf("an empty database: %v", err)
	}
	if _, left, err := m.UpOpen(t.Context()); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	if err := Check(t.Context(), conn); err != nil {
		t.Error(err)
	}
	for _, floor := range []int64{1, 1000} {
		if err := m.setFloor(t.Context(), floor); err != nil {
			t.Fatal(err)
		}
	}
	if err := Check(t.Context(), conn); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "run a newer build") {
		t.Errorf("a schema that is for newer builds: %v", err)
	}
}
