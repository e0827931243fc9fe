// Package access gives analysts logins that read one tenant's rows and can do nothing else: which
// tables they may read, the filter on each, the settings that bind them, the quota. It is the same on
// a ClickHouse server, where SQL says so (type SQL), and on the embedded engine, which knows no SQL
// for it and reads its users at its start (type File).
//
// It fails closed. A table is named one by one, so one that a migration adds is not readable until
// Refresh has put a filter on it; what has no column tenant_id is never readable, but for views,
// which run with the rights of who asks; and Holes tries, as the analyst, what must not work.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// The errors that callers tell apart.
var (
	ErrExists  = errors.New("an analyst of that name exists already")
	ErrUnknown = errors.New("there is no analyst of that name")
	ErrName    = errors.New("an analyst's name has 1 to 32 of a-z, 0-9 and _, begins with a letter, and not with keystone")
)

// Server is a ClickHouse and its analysts.
type Server interface {
	// Create makes the login. It is there for all who connect once Create has answered.
	Create(ctx context.Context, a Analyst) error
	// List is all analysts by name; on a server without hashes and limits.
	List(ctx context.Context) ([]Analyst, error)
	Drop(ctx context.Context, name string) error
	// Refresh lets all analysts read what migrations have added.
	Refresh(ctx context.Context) error
}

// Analyst is one login.
type Analyst struct {
	Name           string    `json:"name"`
	Tenant         uuid.UUID `json:"tenant_id"`
	PasswordSHA256 string    `json:"password_sha256,omitempty"`
	Limits         Limits    `json:"limits,omitzero"`
}

// Limits bound what one analyst takes.
type Limits struct {
	MemoryBytes     int64         `json:"memory_bytes"`       // of all the analyst's queries at one time
	QueryTime       time.Duration `json:"query_time"`         // of a query that does not say otherwise, half of what it may say; whole seconds
	QueriesPerHour  int64         `json:"queries_per_hour"`   //
	ReadRowsPerHour int64         `json:"read_rows_per_hour"` //
	TimePerHour     time.Duration `json:"time_per_hour"`      // of all queries together; whole seconds
}

// DefaultLimits are for a handful of analysts and their dashboards on one server.
func DefaultLimits() Limits {
	return Limits{MemoryBytes: 1 << 30, QueryTime: time.Minute, QueriesPerHour: 10_000, ReadRowsPerHour: 100_000_000_000, TimePerHour: 2 * time.Hour}
}

// Validate lists every broken rule at once.
func (l Limits) Validate() error {
	var errs []error
	for _, x := range []struct {
		name string
		n    int64
	}{
		{"memory_bytes", l.MemoryBytes}, {"query_time", seconds(l.QueryTime)}, {"queries_per_hour", l.QueriesPerHour},
		{"read_rows_per_hour", l.ReadRowsPerHour}, {"time_per_hour", seconds(l.TimePerHour)},
	} {
		if x.n < 1 {
			errs = append(errs, fmt.Errorf("%s must be at least 1", x.name))
		}
	}
	return errors.Join(errs...)
}

// DiskBytes bound what all of the analyst's queries at one time put on the server's disk while they run.
func (l Limits) DiskBytes() int64 { return 16 * l.MemoryBytes }

func (l Limits) spillBytes() int64 { return l.MemoryBytes / 4 }

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// New makes an analyst and the password, which is kept nowhere.
func New(name string, tenant uuid.UUID, limits Limits) (Analyst, string, error) {
	if !nameRule.MatchString(name) || strings.HasPrefix(name, "keystone") || name == "default" || name == "boot" {
		return Analyst{}, "", ErrName
	}
	if err := limits.Validate(); err != nil {
		return Analyst{}, "", err
	}
	var secret [24]byte
	_, _ = rand.Read(secret[:]) // never fails
	password := "ks_ana_" + hex.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(password))
	return Analyst{Name: name, Tenant: tenant, PasswordSHA256: hex.EncodeToString(sum[:]), Limits: limits}, password, nil
}

// Table is something an analyst may read.
type Table struct {
	Name string `json:"name"`
	// Filtered tells that it holds rows of all tenants, and is filtered. What is not is a view, over
	// what is.
	Filtered bool `json:"filtered"`
}

// readable are the tables that have a tenant_id, and the views. What else there is, is the sink's own;
// and what a materialized view has made is read from the table it fills. A Distributed table has no rows
// and no filter: each shard is asked in the analyst's name, and filters its part.
const readable = `
SELECT name, engine LIKE '%MergeTree' AS filtered
FROM system.tables
WHERE database = currentDatabase() AND (engine = 'View' OR (engine LIKE '%MergeTree' OR engine = 'Distributed') AND name IN
	(SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'tenant_id' AND type = 'UUID'))
ORDER BY name`

// Tables are what there is to read in the connection's database.
func Tables(ctx context.Context, conn driver.Conn) ([]Table, error) {
	rows, err := conn.Query(ctx, readable)
	if err != nil {
		return nil, fmt.Errorf("list tables for analysts: %w", err)
	}
	defer rows.Close()
	var all []Table
	for rows.Next() {
		var t Table
		var filtered uint8
		if err := rows.Scan(&t.Name, &filtered); err != nil {
			return nil, fmt.Errorf("list tables for analysts: %w", err)
		}
		t.Filtered = filtered == 1
		all = append(all, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tables for analysts: %w", err)
	}
	return all, nil
}

// condition is the filter of a tenant's rows.
func condition(tenant uuid.UUID) string { return "tenant_id = '" + tenant.String() + "'" }

// setting is one of the settings that bind an analyst: it has a value, and that one only, or what is
// from least to most.
type setting struct{ name, value, least, most string }

// settings bind an analyst. readonly is 2 and not 1, for Grafana and the drivers set formats and
// time-outs with every query; it cannot be changed itself.
func (l Limits) settings() []setting {
	memory, spill := fmt.Sprint(l.MemoryBytes), fmt.Sprint(l.spillBytes())
	return []setting{
		{name: "readonly", value: "2"},
		{name: "allow_ddl", value: "0"},
		{name: "allow_introspection_functions", value: "0"},
		{name: "allow_experimental_eval_table_function", value: "0"},
		{name: "log_queries", value: "1"},
		// On a cluster of shards: what a question joins with, or looks up in, is gathered from all of them.
		{name: "distributed_product_mode", value: "global"},
		{name: "max_concurrent_queries_for_user", value: "20"},
		{name: "max_memory_usage", value: memory},
		{name: "max_memory_usage_for_user", value: memory},
		// What a question sorts or counts up goes to the server's disk when it gets large, rather than that the
		// question fails; several of its steps may be as large at one time. Its joins must fit, and its sets of
		// different values.
		{name: "max_bytes_before_external_sort", value: spill},
		{name: "min_external_sort_block_bytes", value: fmt.Sprint(l.spillBytes() / 4)},     // or a small login would never come to it
		{name: "prefer_external_sort_block_bytes", value: fmt.Sprint(l.MemoryBytes / 256)}, // of each file, while they are merged
		{name: "max_bytes_before_external_group_by", value: spill},
		{name: "max_temporary_data_on_disk_size_for_user", value: fmt.Sprint(l.DiskBytes())},
		{name: "max_execution_time", value: fmt.Sprint(seconds(l.QueryTime)), least: "1", most: fmt.Sprint(2 * seconds(l.QueryTime))},
		{name: "timeout_overflow_mode", value: "throw"},
	}
}
