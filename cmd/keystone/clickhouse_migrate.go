package main

import (
	"errors"
	"fmt"

	"github.com/keystone-cdp/keystone/analytics/transfer"
)

type clickhouseMigrateCmd struct {
	DataDir string `help:"Folder of a running keystone dev or clickhouse serve, where --from is not given." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	From    string `help:"Where the rows are, over HTTP." placeholder:"URL"`
	To      string `required:"" help:"Where they are to be: http://user:password@host:8123/?database=keystone." placeholder:"URL"`
}

// Help is shown below the usage.
func (clickhouseMigrateCmd) Help() string {
	return `From the embedded engine to a server, or from one server to another. Both are asked over HTTP, by this
process; the destination gets this build's schema. Stop the sink first: the log keeps what comes meanwhile, and a
sink that is started on the destination goes on where the other was. Tables are compared chunk by chunk, by
numbers of rows and sums of their hashes: run it again after an interruption, and it copies what is missing.
Rollups are not copied but filled anew by what is. A server of a cluster of shards gets the rows of its shard: run it
once for one server of each.

Prints a line for each table.

Example:
  keystone clickhouse migrate --to "https://keystone:$PASSWORD@clickhouse.internal:8443/?database=keystone"`
}

// Run copies and compares.
func (c *clickhouseMigrateCmd) Run(a *app) error {
	cfg := transfer.DefaultConfig()
	cfg.From, cfg.To = c.From, c.To
	if cfg.From == "" {
		info, err := readDevInfo(c.DataDir)
		if err != nil {
			return err
		}
		cfg.From = info.ClickHouseURL
	}
	if cfg.From == cfg.To {
		return errors.New("--from and --to are the same database")
	}
	bar := newProgress(a.stderr, "rows")
	cfg.Progress = bar.set
	report, err := transfer.Run(a.ctx, cfg)
	bar.end()
	if err != nil {
		return fmt.Errorf("%w (what is copied stays: run it again)", err)
	}
	return printLines(a, report)
}
