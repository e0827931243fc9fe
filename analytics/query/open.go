// Package query asks ClickHouse: how far the sink got, and what an analyst asks; values are always
// bound. It changes nothing and starts nothing; a connection is closed by whoever opened it.
package query

import (
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// Open reads a clickhouse:// DSN: native protocol, LZ4 unless the DSN says otherwise, at most conns
// connections. It connects when first used.
func Open(dsn string, conns int) (driver.Conn, error) {
	opt, err := schema.Options(dsn)
	if err != nil {
		return nil, err
	}
	if opt.Auth.Database == "" {
		opt.Auth.Database = schema.DefaultDatabase
	}
	if opt.Compression == nil {
		opt.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	if opt.Settings == nil {
		opt.Settings = clickhouse.Settings{}
	}
	// Servers since 26.2 queue inserts by default. Ours are batches, and must be in the table when
	// they are acknowledged.
	opt.Settings["async_insert"] = 0
	// An insert that is repeated, for its answer was lost, reaches the rollups also where the table has it
	// already: the first attempt may have ended in between. It is the default since 26.2.
	opt.Settings["deduplicate_blocks_in_dependent_materialized_views"] = 1
	opt.MaxOpenConns, opt.MaxIdleConns = conns, conns
	opt.ClientInfo.Products = append(opt.ClientInfo.Products, struct{ Name, Version string }{"keystone", "sink"})
	conn, err := clickhouse.Open(opt)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	return conn, nil
}
