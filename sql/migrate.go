package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"github.com/keystone-cdp/keystone/internal/migration"
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

// Migrate brings the state store's schema up to date, and takes away what older builds need: none may be
// running (see package migration). It is safe to run from several processes at once, and again after it
// was interrupted: every statement is idempotent and stands for itself.
func Migrate(ctx context.Context, dsn string, log *slog.Logger) error {
	_, err := upTo(ctx, dsn, log, true)
	return err
}

// MigrateOpen is Migrate that leaves older builds what they need, and answers the steps that wait for
// their end. Where this build cannot live beside them it is migration.ErrClosed.
func MigrateOpen(ctx context.Context, dsn string, log *slog.Logger) (left []migration.Step, err error) {
	return upTo(ctx, dsn, log, false)
}

func upTo(ctx context.Context, dsn string, log *slog.Logger, contract bool) (left []migration.Step, err error) {
	steps, err := Steps()
	if err != nil {
		return nil, err
	}
	err = migrate(ctx, dsn, log, func(db *sql.DB, p *goose.Provider) ([]*goose.MigrationResult, error) {
		applied, err := appliedTo(ctx, db)
		if err != nil {
			return nil, err
		}
		fresh, err := unused(ctx, db)
		if err != nil {
			return nil, err
		}
		plan, err := steps.Plan(applied, contract || fresh)
		if err != nil || plan.Version == 0 {
			left = plan.Left
			return nil, err
		}
		// Before the first step that needs it: an older build that starts in between is refused, not surprised.
		if plan.Floor > 0 {
			if err := setFloor(ctx, db, plan.Floor); err != nil {
				return nil, err
			}
		}
		left = plan.Left
		return p.UpTo(ctx, plan.Version)
	})
	return left, err
}

// Drop takes the whole schema down again, with all data.
func Drop(ctx context.Context, dsn string, log *slog.Logger) error {
	return migrate(ctx, dsn, log, func(db *sql.DB, p *goose.Provider) ([]*goose.MigrationResult, error) {
		if _, err := db.ExecContext(ctx, "DROP TABLE IF EXISTS "+floorTable); err != nil {
			return nil, err
		}
		return p.DownTo(ctx, 0)
	})
}

// Steps are this build's migrations.
func Steps() (migration.Steps, error) { return migration.Read(migrationFiles, "migrations") }

// CheckSchema tells whether this build works with the store's schema, without changing anything.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool) error {
	steps, err := Steps()
	if err != nil {
		return err
	}
	applied, floor := map[int64]bool{}, int64(0)
	rows, err := pool.Query(ctx, listApplied)
	if err == nil {
		var version int64
		_, err = pgx.ForEachRow(rows, []any{&version}, func() error {
			applied[version] = true
			return nil
		})
	}
	if err == nil || isUndefinedTable(err) {
		err = pool.QueryRow(ctx, readFloor).Scan(&floor)
	}
	if err != nil && !isUndefinedTable(err) {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if err := steps.Check(applied, floor); err != nil {
		return fmt.Errorf("%w: %w", ErrSchema, err)
	}
	return nil
}

func migrate(ctx context.Context, dsn string, log *slog.Logger, do func(*sql.DB, *goose.Provider) ([]*goose.MigrationResult, error)) (err error) {
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
	results, err := do(db, provider)
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
