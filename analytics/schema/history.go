package schema

import "fmt"

// historyTable is goose's record of what was applied. (The name of goose's own default says nothing
// to an analyst who lists the tables.)
const historyTable = "schema_migrations"

// history is goose's ClickHouse dialect with our engine and our comments.
type history struct{ engines Engines }

func (h history) CreateTable(table string) string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s
(
	version_id Int64 COMMENT 'Number of the migration',
	is_applied UInt8 COMMENT 'Always 1: a migration undone has no row',
	tstamp DateTime DEFAULT now() COMMENT 'When it was applied'
)
ENGINE = %s ORDER BY version_id
COMMENT 'One row is one migration of this database that was applied'`, table, h.engines.MergeTree())
}

func (h history) InsertVersion(table string) string {
	return fmt.Sprintf("INSERT INTO %s (version_id, is_applied) VALUES ($1, $2)", table)
}

func (h history) DeleteVersion(table string) string {
	return fmt.Sprintf("ALTER TABLE %s DELETE WHERE version_id = $1 SETTINGS mutations_sync = 2", table)
}

func (h history) GetMigrationByVersion(table string) string {
	return fmt.Sprintf("SELECT tstamp, is_applied FROM %s WHERE version_id = $1 ORDER BY tstamp DESC LIMIT 1", table)
}

func (h history) ListMigrations(table string) string {
	return fmt.Sprintf("SELECT version_id, is_applied FROM %s ORDER BY version_id DESC", table)
}

func (h history) GetLatestVersion(table string) string {
	return fmt.Sprintf("SELECT max(version_id) FROM %s", table)
}
