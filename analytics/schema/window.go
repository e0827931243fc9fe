package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pressly/goose/v3"

	"github.com/keystone-cdp/keystone/internal/migration"
)

// ErrSchema is wrapped by the error about a database whose schema is not for this build.
var ErrSchema = errors.New("ClickHouse's schema is not this build's")

// floorTable tells builds that do not know the migrations which came after them whether they may run:
// its greatest row is the oldest build the schema is for. It is made with the first step that takes
// something away.
const floorTable = "schema_floor"

func (e Engines) createFloor() string {
	return "CREATE TABLE IF NOT EXISTS " + floorTable + ` (oldest Int64 COMMENT 'The newest migration that a build knows must be at least this one')
ENGINE = ` + e.MergeTree() + ` ORDER BY oldest
COMMENT 'The greatest row is the oldest build of Keystone that works with this database'`
}

// Steps are this build's migrations.
func Steps() (migration.Steps, error) { return migration.Read(sources, sourceDir) }

// UpOpen is Up that leaves older builds what they need, and answers also the steps that wait for their
// end. Where this build cannot live beside them it is migration.ErrClosed.
func (m *Migrator) UpOpen(ctx context.Context) (applied []string, left []migration.Step, err error) {
	return m.up(ctx, false)
}

// Check tells whether this build works with the schema of conn's database, without changing anything.
func Check(ctx context.Context, conn driver.Conn) error {
	steps, err := Steps()
	if err != nil {
		return err
	}
	ask := func(dest any, query string, args ...any) error { return conn.QueryRow(ctx, query, args...).Scan(dest) }
	applied, floor, err := standing(ask)
	if err != nil {
		return err
	}
	if err := steps.Check(applied, floor); err != nil {
		return fmt.Errorf("%w: %w", ErrSchema, err)
	}
	return nil
}

// standing tells which migrations a database has, and the oldest build it is for.
func standing(ask func(dest any, query string, args ...any) error) (applied map[int64]bool, floor int64, err error) {
	applied = map[int64]bool{}
	var tables []string
	var versions []int64
	err = ask(&tables, "SELECT groupArray(name) FROM system.tables WHERE database = currentDatabase() AND name IN ($1, $2)", historyTable, floorTable)
	if err == nil && slices.Contains(tables, historyTable) {
		err = ask(&versions, "SELECT groupUniqArray(version_id) FROM "+historyTable+" WHERE version_id > 0")
	}
	if err == nil && slices.Contains(tables, floorTable) {
		err = ask(&floor, "SELECT max(oldest) FROM "+floorTable)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read clickhouse schema version: %w", err)
	}
	for _, v := range versions {
		applied[v] = true
	}
	return applied, floor, nil
}

func (m *Migrator) up(ctx context.Context, contract bool) (names []string, left []migration.Step, err error) {
	// The name was checked by New: DDL takes no bound values.
	if _, err := m.boot.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+m.database); err != nil {
		return nil, nil, fmt.Errorf("create database %s: %w", m.database, err)
	}
	if err := m.sameEngines(ctx); err != nil {
		return nil, nil, err
	}
	steps, err := Steps()
	if err != nil {
		return nil, nil, err
	}
	applied, _, err := standing(func(dest any, query string, args ...any) error {
		return m.db.QueryRowContext(ctx, query, args...).Scan(dest)
	})
	if err != nil {
		return nil, nil, err
	}
	fresh, err := m.unused(ctx)
	if err != nil {
		return nil, nil, err
	}
	plan, err := steps.Plan(applied, contract || fresh)
	if err != nil {
		return nil, nil, fmt.Errorf("migrate clickhouse: %w", err)
	}
	if plan.Floor > 0 {
		if err := m.setFloor(ctx, plan.Floor); err != nil {
			return nil, nil, err
		}
	}
	if names, err = m.apply(ctx, plan.Version); err != nil {
		return nil, nil, err
	}
	return names, plan.Left, nil
}

// unused tells whether no sink has ever worked with a database: a first migration that broke off is gone on
// with, and leaves nothing to anybody.
func (m *Migrator) unused(ctx context.Context) (bool, error) {
	var rows uint64
	err := m.db.QueryRowContext(ctx, "SELECT ifNull(max(total_rows), 0) FROM system.tables WHERE database = currentDatabase() AND name IN (?, ?)", m.engines.Local("sink_positions"), m.engines.Local("events")).Scan(&rows)
	if err != nil {
		return false, fmt.Errorf("look for rows: %w", err)
	}
	return rows == 0, nil
}

// setFloor comes before the first step that needs it: an older build that starts in between is refused,
// not surprised.
func (m *Migrator) setFloor(ctx context.Context, oldest int64) error {
	_, err := m.db.ExecContext(ctx, m.engines.createFloor())
	if err == nil {
		_, err = m.db.ExecContext(ctx, "INSERT INTO "+floorTable+" (oldest) VALUES ($1)", oldest)
	}
	if err != nil {
		return fmt.Errorf("note the oldest build the schema is for: %w", err)
	}
	return nil
}

// apply applies what is not applied up to a version.
func (m *Migrator) apply(ctx context.Context, version int64) (names []string, err error) {
	p, err := m.provider()
	if err != nil {
		return nil, err
	}
	var results []*goose.MigrationResult
	if version > 0 {
		if results, err = p.UpTo(ctx, version); err != nil {
			return nil, fmt.Errorf("migrate clickhouse: %w", err)
		}
	}
	if err := m.commentViews(ctx); err != nil {
		return nil, err
	}
	for _, r := range results {
		names = append(names, r.Source.Path)
	}
	return names, nil
}
