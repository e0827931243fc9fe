package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

type lagCmd struct {
	target
	EdgeAdmin []string `help:"Admin listeners of the edges: http://host:port,… Then what waits in their spools counts too." env:"KEYSTONE_EDGE_ADMIN_URLS" placeholder:"URL"`

	Wait time.Duration `help:"Wait until nothing is left to do, at most this long; then fail." placeholder:"60s"`
}

// Help is shown below the usage.
func (lagCmd) Help() string {
	return `The offsets are those that count: the processor's in the state store and the sink's in
ClickHouse, not the consumer groups'. While the log does not answer, edges keep events in spools: those of a
running dev are asked, others by --edge-admin.

Examples:
  keystone lag
  keystone lag --edge-admin http://edge:8081 --brokers a:9092 --store-dsn "$STORE" --clickhouse-dsn "$CLICKHOUSE"
  keystone lag --wait 60s && echo "everything that was sent can be queried"`
}

// lagPoll is how often --wait looks again.
const lagPoll = 200 * time.Millisecond

// Run prints the lag once it is nothing, or once without --wait.
func (c *lagCmd) Run(a *app) error {
	if len(c.EdgeAdmin) == 0 && c.StoreDSN == "" && c.ClickhouseDSN == "" && len(c.Brokers) == 0 {
		info, err := readDevInfo(c.DataDir)
		if err != nil {
			return err
		}
		c.EdgeAdmin = info.edgeAdmin()
		c.fill(info)
	}
	if err := c.resolve(needStore | needClickHouse | needBrokers); err != nil {
		return err
	}
	probe, err := newLagProbe(a.ctx, &c.target, c.EdgeAdmin)
	if err != nil {
		return err
	}
	defer probe.close()
	rows, err := probe.wait(a.ctx, c.Wait)
	if err != nil {
		return err
	}
	if left := totalLag(rows); c.Wait > 0 && left > 0 {
		return errors.Join(printLag(a, rows), fmt.Errorf("%d records are still to be done after %s", left, c.Wait))
	}
	return printLag(a, rows)
}

// lagRow is what is left to do in one partition. A stage that does not read the topic has no lag.
type lagRow struct {
	topic       string
	partition   int32 // inSpools: none yet
	end         int64
	processor   int64
	sink        int64
	processes   bool
	unpublished int64 // batches whose changes are not in the log yet
}

// inSpools stands for the partition of what is not in the log yet.
const inSpools = -1

func totalLag(rows []lagRow) (total int64) {
	for _, r := range rows {
		total += r.processor + r.sink + r.unpublished
	}
	return total
}

// lagProbe holds the connections of one command.
type lagProbe struct {
	log        *kgo.Client
	plane      *control.Plane
	clickhouse driver.Conn
	edges      []string // admin listeners
	closers    []func()
}

func newLagProbe(ctx context.Context, t *target, edges []string) (*lagProbe, error) {
	pool, err := sql.Open(ctx, t.StoreDSN, commandConns)
	if err != nil {
		return nil, err
	}
	p := &lagProbe{plane: control.New(pool), edges: edges, closers: []func(){pool.Close}}
	if p.clickhouse, err = query.Open(t.ClickhouseDSN, commandConns); err != nil {
		p.close()
		return nil, err
	}
	p.closers = append(p.closers, func() { _ = p.clickhouse.Close() }) // only read from
	if p.log, err = kgo.NewClient(append(t.Broker.options, kgo.SeedBrokers(t.Brokers...))...); err != nil {
		p.close()
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	p.closers = append(p.closers, p.log.Close)
	return p, nil
}

func (p *lagProbe) close() {
	for _, c := range p.closers {
		c()
	}
}

type topicPartition struct {
	topic     string
	partition int32
}

// measure reads the stages before the log's ends: what arrives meanwhile counts as lag, never as
// done.
func (p *lagProbe) measure(ctx context.Context) ([]lagRow, error) {
	// The log's ends last: what leaves a spool in between, or moves on, shows as lag where it went to.
	var rows []lagRow
	for _, admin := range p.edges {
		n, err := doctor.Spooled(ctx, admin)
		if err != nil {
			return nil, fmt.Errorf("ask an edge for its spool: %w", err)
		}
		if n > 0 {
			rows = append(rows, lagRow{topic: "spool of " + admin, partition: inSpools, end: n, processor: n, sink: n, processes: true})
		}
	}
	processed, err := p.plane.Offsets(ctx)
	if err != nil {
		return nil, err
	}
	sunk, err := query.Positions(ctx, p.clickhouse)
	if err != nil {
		return nil, err
	}
	ends, err := kadm.NewClient(p.log).ListEndOffsets(ctx, event.TopicEvents, event.TopicBackfill, event.TopicChanges)
	if err != nil {
		return nil, fmt.Errorf("read the log's ends: %w", err)
	}
	if err := ends.Error(); err != nil {
		return nil, fmt.Errorf("read the log's ends: %w", err)
	}
	done, into := map[topicPartition]control.Offset{}, map[topicPartition]int64{}
	for _, o := range processed {
		done[topicPartition{o.Topic, o.Partition}] = o
	}
	for _, o := range sunk {
		into[topicPartition{o.Topic, o.Partition}] = o.NextOffset
	}
	for _, o := range ends.Offsets().Sorted() {
		at := topicPartition{o.Topic, o.Partition}
		row := lagRow{topic: o.Topic, partition: o.Partition, end: o.At, processes: o.Topic != event.TopicChanges}
		row.sink = max(0, o.At-into[at])
		if row.processes {
			row.processor, row.unpublished = max(0, o.At-done[at].Next), done[at].Unpublished
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// wait measures until nothing is left to do or the time is over, and answers the last measurement.
func (p *lagProbe) wait(ctx context.Context, timeout time.Duration) ([]lagRow, error) {
	deadline := time.Now().Add(timeout)
	for {
		rows, err := p.measure(ctx)
		if err != nil || totalLag(rows) == 0 || time.Now().After(deadline) {
			return rows, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lagPoll):
		}
	}
}

func printLag(a *app, rows []lagRow) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "topic\tpartition\tend\tprocessor lag\tunpublished batches\tsink lag\t")
	for _, r := range rows {
		processor, unpublished := "-", "-"
		if r.processes {
			processor, unpublished = fmt.Sprint(r.processor), fmt.Sprint(r.unpublished)
		}
		partition := fmt.Sprint(r.partition)
		if r.partition == inSpools {
			partition = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t\n", r.topic, partition, r.end, processor, unpublished, r.sink)
	}
	return w.Flush()
}
