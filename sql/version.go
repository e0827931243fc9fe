package sql

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

const versionTable = "schema_migrations"

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
