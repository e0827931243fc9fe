package main

import (
	"errors"
	"fmt"

	"github.com/keystone-cdp/keystone/cmd/keystone/recovery"
)

type recoverCmd struct {
	target
	Yes        bool `help:"Do it. Without this nothing is changed."`
	AcceptLoss bool `help:"Go on although the log has removed records that were not processed: they are lost to profiles."`
	NewLog     bool `help:"Where the log ends before what was processed: read it from its start."`
}

// Help is shown below the usage.
func (recoverCmd) Help() string {
	return `For when the state store, ClickHouse or the log was restored from a backup, each to a moment of its own: see
docs/backup.md. Stop every processor and sink before. Edges may run.

The processor goes on at the state store's offset rows, and processes again what came after them; what ClickHouse has
of profiles, identifiers, merges, lineage, orders and products is removed and made anew from the state store. Events in
ClickHouse stay: the sink adds what the log has beyond them. With --new-log, what the log has from its start on is
processed: message ids are remembered for seven days, and what was counted within them counts once.

Prints a line for each partition of the events, and what was done. Run it again if it breaks off: until it has
succeeded, sinks take no changes.

Examples:
  keystone recover          # tells what was lost, and what would be done
  keystone recover --yes`
}

// Run examines, and mends what was found if told to.
func (c *recoverCmd) Run(a *app) error {
	if err := c.resolve(needStore | needClickHouse | needBrokers); err != nil {
		return err
	}
	r, err := recovery.Open(a.ctx, recovery.Config{StoreDSN: c.StoreDSN, ClickHouseDSN: c.ClickhouseDSN, Brokers: c.Brokers, Access: c.Broker.options}, a.log)
	if err != nil {
		return err
	}
	defer r.Close()
	found, err := r.Examine(a.ctx)
	if err != nil {
		return err
	}
	if err := printLines(a, found); err != nil {
		return err
	}
	if lost := recovery.Sum(found, func(p recovery.Partition) int64 { return p.Lost }); lost > 0 && !c.AcceptLoss {
		return fmt.Errorf("%d records that are not processed are no longer in the log: restore a younger state store, or --accept-loss", lost)
	}
	if recovery.Other(found) && !c.NewLog {
		return errors.New("the log ends before what was processed: restore a younger log, or --new-log")
	}
	if !c.Yes {
		fmt.Fprintln(a.stderr, "Nothing was changed: with --yes ClickHouse's state tables are made anew from the state store.")
		return nil
	}
	done, err := r.Mend(a.ctx, found)
	if done != nil {
		err = errors.Join(printJSON(a, done), err)
	}
	if err != nil {
		return fmt.Errorf("%w (run it again: until it succeeds, sinks take no changes)", err)
	}
	return nil
}
