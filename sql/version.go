package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

const versionTable = "schema_migrations"

// floorTable tells builds that do not know the migrations which came after them whether they may run:
// its greatest row is the oldest build the schema is for. It is made with the first step that takes
// something away.
const (
	floorTable  = "schema_floor"
	listApplied = `SELECT version_id FROM ` + versionTable + ` WHERE version_id > 0`
	readFloor   = `SELECT COALESCE(max(oldest), 0) FROM ` + floorTable
	createFloor = `CREATE TABLE IF NOT EXISTS ` + floorTable + ` (oldest INT8 NOT NULL, CONSTRAINT ` + floorTable + `_pkey PRIMARY KEY (oldest))`
	insertFloor = `INSERT INTO ` + floorTable + ` (oldest) VALUES ($1::INT8) ON CONFLICT (oldest) DO NOTHING`
)

func setFloor(ctx context.Context, db *sql.DB, oldest int64) error {
	_, err := db.ExecContext(ctx, createFloor)
	if err == nil {
		_, err = db.ExecContext(ctx, insertFloor, oldest)
	}
	if err != nil {
		return fmt.Errorf("note the oldest build the schema is for: %w", err)
	}
	return nil
}

// unused tells whether nobody has ever worked with a store: a first migration that broke off is gone on
// with, and leaves nothing to anybody.
func unused(ctx context.Context, db *sql.DB) (fresh bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT NOT EXISTS (SELECT 1 FROM tenants)").Scan(&fresh)
	if isUndefinedTable(err) {
		return true, nil
	}
	if err != nil {
		err = fmt.Errorf("look for tenants: %w", err)
	}
	return fresh, err
}

// appliedTo are the migrations a store has; none where it has no schema.
func appliedTo(ctx context.Context, db *sql.DB) (map[int64]bool, error) {
	applied := map[int64]bool{}
	rows, err := db.QueryContext(ctx, listApplied)
	if isUndefinedTable(err) {
		return applied, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var version int64
		if err := rows.Scan(&version); err != nil {
			return nil, fmt.Errorf("read the schema's version: %w", err)
		}
		applied[version] = true
	}
	return applied, rows.Err()
}

const undefinedTable = "42P01"

func isUndefinedTable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == undefinedTable
}

// versionQuerier keeps goose's version table within the common dialect: its own has an IDENTITY key
// and is created in one transaction with its first row.
type versionQuerier struct{}

func (versionQuerier) CreateTable(table string) string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
		version_id INT8 NOT NULL,
		is_applied BOOL NOT NULL,
		tstamp     TIMESTAMPTZ NOT NULL DEFAULT now(),
		CONSTRAINT %s_pkey PRIMARY KEY (version_id)
	)`, table, table)
}

func (versionQuerier) InsertVersion(table string) string {
	return fmt.Sprintf(`INSERT INTO %s (version_id, is_applied) VALUES ($1::INT8, $2::BOOL)
		ON CONFLICT (version_id) DO UPDATE SET is_applied = excluded.is_applied, tstamp = now()`, table)
}

func (versionQuerier) DeleteVersion(table string) string {
	return fmt.Sprintf(`DELETE FROM %s WHERE version_id = $1::INT8`, table)
}

func (versionQuerier) GetMigrationByVersion(table string) string {
	return fmt.Sprintf(`SELECT tstamp, is_applied FROM %s WHERE version_id = $1::INT8`, table)
}

func (versionQuerier) ListMigrations(table string) string {
	return fmt.Sprintf(`SELECT version_id, is_applied FROM %s ORDER BY version_id DESC`, table)
}

func (versionQuerier) GetLatestVersion(table string) string {
	return fmt.Sprintf(`SELECT max(version_id) FROM %s`, table)
}
