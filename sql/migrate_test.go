package sql

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"

	"github.com/keystone-cdp/keystone/internal/migration"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := Open(context.Background(), dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func tables(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	rows, err := pool.Query(context.Background(), `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestMigrateUpDownUp(t *testing.T) {
	ctx := context.Background()
	dsn := freshStore(t)
	pool := open(t, dsn)
	if err := CheckSchema(ctx, pool); !errors.Is(err, ErrSchema) {
		t.Errorf("an empty store passes the check: %v", err)
	}
	for range 2 { // the second time there is nothing to do
		if err := Migrate(ctx, dsn, quiet); err != nil {
			t.Fatal(err)
		}
	}
	full := tables(t, pool)
	for _, table := range []string{"profiles", "identifiers", "outbox", "processor_offsets", "message_ids", "api_keys"} {
		if !strings.Contains(full, table) {
			t.Errorf("no table %s in %s", table, full)
		}
	}
	if err := CheckSchema(ctx, pool); err != nil {
		t.Error(err)
	}
	if err := Drop(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	if left := tables(t, pool); left != "schema_lock schema_migrations" {
		t.Errorf("left after the way down: %s", left)
	}
	if err := CheckSchema(ctx, pool); !errors.Is(err, ErrSchema) {
		t.Errorf("a dropped store passes the check: %v", err)
	}
	if err := Migrate(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	if again := tables(t, pool); again != full {
		t.Errorf("first %s, then %s", full, again)
	}
}

// Message ids that are remembered stay so when their table changes.
func TestMigrateRemembersMessages(t *testing.T) {
	ctx := context.Background()
	dsn := freshStore(t)
	before := func(_ *sql.DB, p *goose.Provider) ([]*goose.MigrationResult, error) { return p.UpTo(ctx, 8) }
	if err := migrate(ctx, dsn, quiet, before); err != nil {
		t.Fatal(err)
	}
	pool := open(t, dsn)
	if _, err := pool.Exec(ctx, `INSERT INTO seen_messages (tenant_id, message_hash, expires_at)
		VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', '2026-12-01 00:00:00+00')`); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	var kept int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM message_ids WHERE message_hash = '00000000-0000-0000-0000-000000000002'
		AND expires_at = '2026-12-01 00:00:00+00'`).Scan(&kept); err != nil || kept != 1 {
		t.Errorf("%d rows: %v", kept, err)
	}
	if strings.Contains(tables(t, pool), "seen_messages") {
		t.Error("the old table is still there")
	}
}

func TestMigrateAtOnce(t *testing.T) {
	dsn := freshStore(t)
	errs := make([]error, 6)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = Migrate(context.Background(), dsn, quiet) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := CheckSchema(context.Background(), open(t, dsn)); err != nil {
		t.Error(err)
	}
}

// A process that dies between two statements, or between the last and the version row, leaves a
// schema that the next one completes.
func TestMigrateAfterAnInterruption(t *testing.T) {
	ctx := context.Background()
	dsn := freshStore(t)
	if err := Migrate(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	pool := open(t, dsn)
	for _, text := range []string{`DELETE FROM schema_migrations WHERE version_id >= 2`, `DROP TABLE products`} {
		if _, err := pool.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := Migrate(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	if err := CheckSchema(ctx, pool); err != nil {
		t.Error(err)
	}
	if !strings.Contains(tables(t, pool), "products") {
		t.Error("the missing table was not made")
	}
}

// A new version's migrations leave builds of the version before what they need; what takes that away is for
// later, and refuses such a build from then on.
func TestMigrateLeavesOlderBuildsTheirSchema(t *testing.T) {
	ctx := context.Background()
	dsn := freshStore(t)
	to := func(version int64) {
		t.Helper()
		if err := migrate(ctx, dsn, quiet, func(_ *sql.DB, p *goose.Provider) ([]*goose.MigrationResult, error) {
			return p.UpTo(ctx, version)
		}); err != nil {
			t.Fatal(err)
		}
	}
	pool := open(t, dsn)
	to(8)
	// As long as nobody has worked with it, a first migration that broke off is gone on with.
	if _, err := MigrateOpen(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	if err := Drop(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	to(8)
	if _, err := pool.Exec(ctx, `INSERT INTO tenants (tenant_id, slug, name, settings, created_at)
		VALUES ('00000000-0000-0000-0000-000000000001', 'shop', '', '{}', now())`); err != nil {
		t.Fatal(err)
	}
	if _, err := MigrateOpen(ctx, dsn, quiet); !errors.Is(err, migration.ErrClosed) {
		t.Errorf("migration 10 was not refused beside processors that forget what it copies: %v", err)
	}
	if err := CheckSchema(ctx, pool); !errors.Is(err, ErrSchema) {
		t.Errorf("this build works without migration 10: %v", err)
	}
	to(10)
	if _, err := MigrateOpen(ctx, dsn, quiet); !errors.Is(err, migration.ErrClosed) || !strings.Contains(err.Error(), "migration 11 works with builds from schema 10 on") {
		t.Errorf("migration 12 comes after one that takes away, which waits: %v", err)
	}
	if err := Migrate(ctx, dsn, quiet); err != nil {
		t.Fatal(err)
	}
	if left, err := MigrateOpen(ctx, dsn, quiet); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	var floor int64
	if err := pool.QueryRow(ctx, readFloor).Scan(&floor); err != nil || floor != 10 {
		t.Errorf("the oldest build is %d, %v", floor, err)
	}
	if err := setFloorForTest(ctx, dsn, 1000); err != nil {
		t.Fatal(err)
	}
	if err := CheckSchema(ctx, pool); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "run a newer build") {
		t.Errorf("a schema that is for newer builds: %v", err)
	}
}

func setFloorForTest(ctx context.Context, dsn string, oldest int64) error {
	return migrate(ctx, dsn, quiet, func(db *sql.DB, _ *goose.Provider) ([]*goose.MigrationResult, error) {
		return nil, setFloor(ctx, db, oldest)
	})
}

// A migration that takes something away says so (docs/upgrade.md). That it cannot wait is what only those
// say that came before the rule.
func TestMigrationsSayWhatTheyTakeAway(t *testing.T) {
	found, err := migration.Unmarked(migrationFiles, "migrations")
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
		if step.Offline && step.Version > 10 {
			t.Errorf("migration %d wants all processes to be stopped", step.Version)
		}
	}
}
