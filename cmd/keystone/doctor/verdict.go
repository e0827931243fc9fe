package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor"
)

// remedies say what to do where a probe has stopped before a stage.
var remedies = [stages]string{
	stageEdge:      "start keystone edge, or mend --edge; a 401 means that the edge has another state store than --store-dsn, a 503 that it reaches neither the log nor a state store, and its spool is full or broken",
	stageLog:       "the edge has it on its disk: see the edge's log and its keystone_spool_pending_records; is --brokers the log that the edge writes to?",
	stageProcessor: "start keystone processor; if one runs, see its log: a partition that it cannot go on with is named there",
	stageOutbox:    "see the processor's log: it cannot write to keystone.changes",
	stageEvents:    "start keystone sink; if one runs, see its log",
	stageChanges:   "see the sink's log: it reads keystone.changes as well",
}

var stopped = [stages]string{
	stageEdge:      "stopped at the edge",
	stageLog:       "stopped between edge and log: the edge took it, and it is not in keystone.events",
	stageProcessor: "stopped at the processor: it is in keystone.events, and no processor has taken it",
	stageOutbox:    "stopped at the outbox: it was processed, and its changes are not in keystone.changes",
	stageEvents:    "stopped at the sink: it is in keystone.events, and not in ClickHouse",
	stageChanges:   "stopped at the sink: its changes are in keystone.changes, and not in ClickHouse",
}

// before is what a stage takes from.
var before = [stages]int{stageEdge: -1, stageLog: stageEdge, stageProcessor: stageLog, stageOutbox: stageProcessor, stageEvents: stageLog, stageChanges: stageOutbox}

// tell makes findings of how far the probes came.
func (p *prober) tell(ctx context.Context) {
	for stage := range stages {
		s := Stage{Name: stageNames[stage]}
		stuck, problem := []string{}, ""
		var slowest time.Duration
		for _, t := range p.tracers {
			if took := t.passed[stage]; took > 0 {
				s.Passed++
				slowest = max(slowest, took)
				continue
			}
			s.Stuck = append(s.Stuck, t.partition)
			if from := before[stage]; from < 0 || t.passed[from] > 0 { // else it did not come so far
				stuck = append(stuck, strconv.Itoa(int(t.partition)))
				problem = t.problem
			}
		}
		s.SlowestMs = float64(slowest.Microseconds()) / 1000
		p.report.Probe.Stages = append(p.report.Probe.Stages, s)
		if len(stuck) > 0 {
			text := stopped[stage] + ", " + p.partitions(stuck)
			if stage == stageEdge {
				text += ": " + problem
			} else {
				text += " within " + p.cfg.ProbeTimeout.String() + p.members(ctx, stage)
			}
			p.report.add("probe", Stops, remedies[stage], "%s", text)
		}
	}
	for _, t := range p.tracers {
		if !t.received.IsZero() {
			p.clock("the edge", t.sent, t.sent.Add(t.passed[stageEdge]), t.received, t.received)
			break
		}
	}
	if !p.broken("probe") {
		last := p.report.Probe.Stages
		p.report.ok("probe", "came through on all %d partitions: edge %.0f ms, log %.0f ms, processor %.0f ms, ClickHouse %.0f ms, its profile there %.0f ms",
			len(p.tracers), last[stageEdge].SlowestMs, last[stageLog].SlowestMs, last[stageProcessor].SlowestMs, last[stageEvents].SlowestMs, last[stageChanges].SlowestMs)
	}
}

func (p *prober) partitions(stuck []string) string {
	if len(stuck) == len(p.tracers) {
		return "on every partition"
	}
	return "on the partitions " + strings.Join(stuck, ", ")
}

// members tells whether anybody reads for a stage at all.
func (p *prober) members(ctx context.Context, stage int) string {
	var group string
	switch stage {
	case stageProcessor:
		group = processor.DefaultConfig().Consume.Group
	case stageEvents, stageChanges:
		group = analytics.DefaultConfig().Sink.Group
	default:
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	groups, err := p.admin.DescribeGroups(ctx, group)
	if err != nil || groups.Error() != nil {
		return ""
	}
	return fmt.Sprintf(" (the group %s has %d members)", group, len(groups[group].Members))
}

// clean removes the probes' rows from every table that has the tenant's. The rows that the state store
// keeps (a profile and an identifier for each partition) are seen by nobody who does not ask for the
// tenant.
func (p *prober) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	p.settle(ctx)
	if err := p.cleanShards(ctx); err != nil {
		p.report.add("probe", Warning, "filter tenant "+p.tenant.String()+" out, or run keystone doctor again", "its rows are still in ClickHouse: %v", redact(err))
	}
}

// cleanShards removes them on every shard, where there are some.
func (p *prober) cleanShards(ctx context.Context) (err error) {
	servers, err := shard.Open(p.cfg.ClickHouseDSN, conns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	set, err := servers.Get(ctx)
	if err != nil {
		return err
	}
	for _, conn := range set.All() {
		tables, err := p.tables(ctx, conn)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if err := conn.Exec(ctx, "DELETE FROM "+quote(table)+" WHERE tenant_id = ?", p.tenant); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle waits until the sink has saved that it has the probes. Before that their rows are how it knows,
// and a sink that is started again without them reads them again: the next doctor would find those.
func (p *prober) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	tick := time.NewTicker(probePoll)
	defer tick.Stop()
	for {
		left := false
		for _, t := range p.tracers {
			if t.passed[stageEvents] == 0 {
				continue
			}
			var next int64
			err := p.columns.QueryRow(ctx, "SELECT max(next_offset) FROM sink_positions WHERE topic = ? AND partition = ?", event.TopicEvents, t.partition).Scan(&next)
			if err != nil {
				return
			}
			left = left || next <= t.offset
		}
		if !left {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "\\`") + "`" }

// tables are those with rows of the probe's tenant, analysts' own included.
func (p *prober) tables(ctx context.Context, conn driver.Conn) (found []string, err error) {
	rows, err := conn.Query(ctx, `SELECT c.table FROM system.columns AS c JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database = currentDatabase() AND c.name = 'tenant_id' AND t.engine LIKE '%MergeTree' ORDER BY c.table`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, err
		}
		all = append(all, table)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, table := range all { // a deletion of nothing is a mutation all the same
		var n uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+quote(table)+" WHERE tenant_id = ?", p.tenant).Scan(&n); err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, table)
		}
	}
	return found, nil
}
