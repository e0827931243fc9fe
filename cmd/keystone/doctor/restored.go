package doctor

import (
	"context"
	"errors"
	"log/slog"

	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/cmd/keystone/recovery"
)

// checkRestored finds that log, state store and ClickHouse are of different moments: one was restored from a
// backup, and the others were not brought to it.
func (d *Doctor) checkRestored(ctx context.Context) {
	const check = "moments"
	if d.admin == nil || d.pool == nil || d.columns == nil || d.missing || d.broken("log", checkNameStore, checkNameColumns, "migrations") {
		return
	}
	r, err := recovery.Open(ctx, recovery.Config{StoreDSN: d.cfg.StoreDSN, ClickHouseDSN: d.cfg.ClickHouseDSN, Brokers: d.cfg.Brokers, Access: d.cfg.Access},
		slog.New(slog.DiscardHandler))
	if err != nil {
		d.report.add(check, Skipped, "", "cannot be compared: %v", redact(err))
		return
	}
	defer r.Close()
	if _, err := sink.Sources(ctx, d.columns); errors.Is(err, sink.ErrRebuilding) {
		d.report.add(check, Stops, "keystone recover --yes, until it succeeds", "ClickHouse: %v", err)
	}
	found, err := r.Examine(ctx)
	if err != nil {
		d.report.add(check, Skipped, "", "cannot be compared: %v", redact(err))
		return
	}
	fine := true
	for _, p := range found {
		switch {
		case p.NotThisLog:
			fine = false
			d.report.add(check, Stops, "restore a younger log; or stop processors and sinks, and keystone recover --new-log (docs/backup.md)",
				"%s/%d: the log ends before %d, which was processed", p.Topic, p.Partition, p.Processed)
		case p.Again > 0:
			fine = false
			d.report.add(check, Stops, "stop processors and sinks, and keystone recover (docs/backup.md)",
				"%s/%d: the state store is older than what was processed: %d records are to be processed again", p.Topic, p.Partition, p.Again)
		case p.Ahead > 0:
			fine = false
			d.report.add(check, Stops, "stop processors and sinks, and keystone recover (docs/backup.md)",
				"%s/%d: ClickHouse has changes that the state store has not, of %d records", p.Topic, p.Partition, p.Ahead)
		}
	}
	if fine {
		d.report.ok(check, "log, state store and ClickHouse are of one moment")
	}
}
