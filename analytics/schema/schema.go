// Package schema is the analysts' interface: the tables and views in ClickHouse, as numbered
// migrations, and what applies them. Every table and column has a COMMENT that says what it holds.
//
// It knows no rows: the sink writes them and package query reads them. Nobody has to shut it down
// but by Close.
//
// Migrations are applied by goose, through clickhouse-go's database/sql. ClickHouse has no
// transactions, so each statement is safe to run again (IF NOT EXISTS, OR REPLACE): a migration that
// died half-way, or two processes at once, end in the same schema.
package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// DefaultDatabase is where the tables live when the DSN names no database.
const DefaultDatabase = "keystone"

// databaseName is what may be put into CREATE DATABASE, which takes no bound values.
var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Migrator applies the migrations to one database. It is used from one goroutine.
type Migrator struct {
	database string
	boot     *sql.DB // not in the database, which may not be there yet
	db       *sql.DB
	engines  Engines
}

// New reads a clickhouse:// DSN. It connects to nothing yet.
func New(dsn string, engines Engines) (*Migrator, error) {
	opt, err := Options(dsn)
	if err != nil {
		return nil, err
	}
	if opt.Auth.Database == "" {
		opt.Auth.Database = DefaultDatabase
	}
	if !databaseName.MatchString(opt.Auth.Database) {
		return nil, errors.New("parse clickhouse dsn: the database's name may have letters, digits and _ only")
	}
	boot, err := Options(dsn)
	if err != nil {
		return nil, err
	}
	boot.Auth.Database = "system" // the one that is always there, and may be read by all
	return &Migrator{
		database: opt.Auth.Database,
		boot:     clickhouse.OpenDB(boot),
		db:       clickhouse.OpenDB(opt),
		engines:  engines,
	}, nil
}

// Close ends the connections.
func (m *Migrator) Close() error { return errors.Join(m.db.Close(), m.boot.Close()) }

// Up creates the database if it is missing and applies what is not applied yet, also what takes away what
// older builds need: none may be running (see package migration). It answers the names of the migrations it
// applied.
func (m *Migrator) Up(ctx context.Context) ([]string, error) {
	applied, _, err := m.up(ctx, true)
	return applied, err
}

// sameEngines refuses a database that was made of other engines: half of the tables would be of each.
func (m *Migrator) sameEngines(ctx context.Context) error {
	have, there, err := m.Made(ctx)
	if err == nil && there && have != m.engines {
		err = fmt.Errorf("database %s was made for %s, and this is for %s: give the settings it was made with", m.database, have, m.engines)
	}
	return err
}

// Made tells of what engines the database was made, and whether it was.
func (m *Migrator) Made(ctx context.Context) (have Engines, there bool, err error) {
	var replicated uint8
	var tables uint64
	err = m.boot.QueryRowContext(ctx, `
SELECT count(), max(startsWith(engine, 'Replicated')), max(extract(engine_full, '^Distributed\\(\'([^\']*)\''))
FROM system.tables WHERE database = ? AND name IN ('events', ?)`, m.database, "events"+LocalSuffix).Scan(&tables, &replicated, &have.Cluster)
	if err != nil {
		return have, false, fmt.Errorf("look at the tables' engines: %w", err)
	}
	have.Replicated = replicated == 1
	return have, tables > 0, nil
}

// DownTo undoes the migrations above version, and with them their data: 0 undoes all.
func (m *Migrator) DownTo(ctx context.Context, version int64) error {
	p, err := m.provider()
	if err != nil {
		return err
	}
	if _, err := p.DownTo(ctx, version); err != nil {
		return fmt.Errorf("undo clickhouse migrations: %w", err)
	}
	return nil
}

// Version tells the newest migration applied and the newest there is. It only looks (goose would make its
// table): a database without our tables, or that is not there, has version 0.
func (m *Migrator) Version(ctx context.Context) (have, want int64, err error) {
	p, err := m.provider()
	if err != nil {
		return 0, 0, err
	}
	for _, source := range p.ListSources() {
		want = max(want, source.Version)
	}
	var there uint64
	err = m.boot.QueryRowContext(ctx, "SELECT count() FROM system.tables WHERE database = ? AND name = ?", m.database, historyTable).Scan(&there)
	if err == nil && there > 0 {
		err = m.db.QueryRowContext(ctx, history{m.engines}.GetLatestVersion(historyTable)).Scan(&have)
	}
	if err != nil {
		return 0, want, fmt.Errorf("read clickhouse schema version: %w", err)
	}
	return have, want, nil
}

func (m *Migrator) provider() (*goose.Provider, error) {
	fsys, err := render(m.engines)
	if err != nil {
		return nil, err
	}
	store, err := database.NewStoreFromQuerier(historyTable, history{m.engines})
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectCustom, m.db, fsys,
		goose.WithStore(store), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	return p, nil
}
