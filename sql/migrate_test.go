package sql

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
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
	before := func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.UpTo(ctx, 8) }
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
