package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Mutual exclusion of migrations is a row with a lease: CockroachDB's advisory locks lock nothing.
const (
	lockTable    = "schema_lock"
	lockLease    = 30 * time.Second // after the death of its holder
	lockBeat     = 5 * time.Second
	lockInterval = 250 * time.Millisecond
	lockAttempts = 480 // two minutes
	unlockTries  = 40  // ten seconds
)

// ErrSchema is wrapped by the error of a store whose schema is not this build's.
var ErrSchema = errors.New("the state store's schema is not this build's")

// Migrate brings the state store's schema up to date. It is safe to run from several processes at
// once, and again after it was interrupted: every statement is idempotent and stands for itself.
func Migrate(ctx context.Context, dsn string, log *slog.Logger) error {
	return migrate(ctx, dsn, log, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// Drop takes the whole schema down again, with all data.
func Drop(ctx context.Context, dsn string, log *slog.Logger) error {
	return migrate(ctx, dsn, log, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.DownTo(ctx, 0) })
}

// CheckSchema tells whether the store has this build's schema, without changing anything.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool) error {
	var have int64
	err := pool.QueryRow(ctx, `SELECT COALESCE(max(version_id), 0) FROM `+versionTable).Scan(&have)
	if isUndefinedTable(err) {
		have, err = 0, nil
	}
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if want := latest(); have < want {
		return fmt.Errorf("%w: it has version %d, this build needs %d: run keystone migrate", ErrSchema, have, want)
	}
	return nil
}

func migrate(ctx context.Context, dsn string, log *slog.Logger, do func(*goose.Provider) ([]*goose.MigrationResult, error)) (err error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	cockroach, err := isCockroachDB(ctx, db)
	if err != nil {
		return fmt.Errorf("connect to the state store: %w", err)
	}
	provider, err := newProvider(db, cockroach)
	if err != nil {
		return err
	}
	// Not goose's own use of the lock: it looks at the version table before it takes it.
	locker, err := newLocker(log)
	if err != nil {
		return err
	}
	if err := locker.Lock(ctx, db); err != nil {
		return fmt.Errorf("take the migration lease: %w", err)
	}
	defer func() { err = errors.Join(err, locker.Unlock(ctx, db)) }()
	results, err := do(provider)
	if err != nil {
		return fmt.Errorf("migrate the state store: %w", err)
	}
	for _, r := range results {
		log.Info("migrated the state store", "migration", r.Source.Path, "direction", r.Direction, "took_ms", r.Duration.Milliseconds())
	}
	return nil
}

func newLocker(log *slog.Logger) (lock.Locker, error) {
	locker, err := lock.NewPostgresTableLocker(lock.WithTableName(lockTable), lock.WithTableLogger(log),
		lock.WithTableLeaseDuration(lockLease), lock.WithTableHeartbeatInterval(lockBeat),
		lock.WithTableLockTimeout(lockInterval, lockAttempts), lock.WithTableUnlockTimeout(lockInterval, unlockTries))
	if err != nil {
		return nil, fmt.Errorf("make the migration lock: %w", err)
	}
	return locker, nil
}

func newProvider(db *sql.DB, cockroach bool) (*goose.Provider, error) {
	versions, err := database.NewStoreFromQuerier(versionTable, versionQuerier{})
	if err != nil {
		return nil, fmt.Errorf("make the version table's statements: %w", err)
	}
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open the migrations: %w", err)
	}
	foreign, err := foreignFiles(files, cockroach)
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectCustom, db, files, goose.WithStore(versions), goose.WithIsolateDDL(true),
		goose.WithExcludeNames(foreign), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return p, nil
}

// foreignFiles are the migrations for the other server: *_cockroach.sql or *_postgres.sql.
func foreignFiles(files fs.FS, cockroach bool) ([]string, error) {
	suffix := "_cockroach.sql"
	if cockroach {
		suffix = "_postgres.sql"
	}
	foreign, err := fs.Glob(files, "*"+suffix)
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	return foreign, nil
}

// latest is the version of the last migration file.
func latest() (version int64) {
	files, _ := fs.Glob(migrationFiles, "migrations/*.sql")
	for _, f := range files {
		if v, err := goose.NumericComponent(strings.TrimPrefix(f, "migrations/")); err == nil {
			version = max(version, v)
		}
	}
	return version
}

func isCockroachDB(ctx context.Context, db *sql.DB) (yes bool, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.Raw(func(driver any) error {
		yes = IsCockroach(driver.(*stdlib.Conn).Conn())
		return nil
	})
	return yes, err
}
