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
	for _, table := range []string{"profiles", "identifiers", "outbox", "processor_offsets", "seen_messages", "api_keys"} {
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
