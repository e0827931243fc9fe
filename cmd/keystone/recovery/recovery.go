// Package recovery brings the log, the state store and ClickHouse together again after one of them was
// restored to another moment than the others. The log and the state store decide: the processor goes on
// at its offset rows, and what ClickHouse has of the processor's state is made anew from the state store
// (sink.Rebuilder). Events in ClickHouse come from the log and are left alone.
//
// Examine looks, Mend changes. Neither may run beside a processor or a sink, and Mend sees to that.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

// Config says where the three are.
type Config struct {
	StoreDSN, ClickHouseDSN string
	Brokers                 []string
	Access                  []kgo.Opt // to the log: TLS, SASL
}

// conns is enough for one thing after the other.
const conns = 2

// Recovery holds the connections.
type Recovery struct {
	log     *slog.Logger
	client  *kgo.Client
	admin   *kadm.Client
	pool    *pgxpool.Pool
	plane   *control.Plane
	states  *store.Store
	servers *shard.Servers
	columns driver.Conn // of servers
}

// Partition is how a partition of the event topics stands.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	LogStart  int64  `json:"log_start"`
	LogEnd    int64  `json:"log_end"`
	// Processed is where the processor goes on, by the state store; Told is what it has told its group: -1
	// where it has not.
	Processed int64 `json:"processed"`
	Told      int64 `json:"told"`
	// Again is how many records were processed by a state store that is no more, and will be processed again.
	Again int64 `json:"again,omitempty"`
	// Lost is how many records the log has removed that are not processed: they are lost to profiles.
	Lost int64 `json:"lost,omitempty"`
	// Ahead is how many records ClickHouse has the changes of that the state store has not: they were made by
	// one that is no more.
	Ahead int64 `json:"ahead,omitempty"`
	// LostRows is how many records the log has removed that are not in ClickHouse.
	LostRows int64 `json:"lost_rows,omitempty"`
	// NotThisLog says that the log ends before Processed: it was restored to an earlier moment, or made anew.
	NotThisLog bool `json:"not_this_log,omitempty"`
}

// Open connects.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (r *Recovery, err error) {
	r = &Recovery{log: log}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.client, err = kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cfg.Brokers...), kgo.ClientID("keystone-recover")}, cfg.Access...)...); err != nil {
		return r, fmt.Errorf("connect to the log: %w", err)
	}
	r.admin = kadm.NewClient(r.client)
	if r.pool, err = sql.Open(ctx, cfg.StoreDSN, conns); err != nil {
		return r, err
	}
	if err = sql.CheckSchema(ctx, r.pool); err != nil {
		return r, err
	}
	r.plane = control.New(r.pool)
	if r.states, err = store.New(store.DefaultConfig(), r.pool); err != nil {
		return r, err
	}
	if r.servers, err = shard.Open(cfg.ClickHouseDSN, conns); err == nil {
		r.columns = r.servers.Home()
	}
	return r, err
}

// Close ends the connections.
func (r *Recovery) Close() {
	if r.client != nil {
		r.client.Close()
	}
	if r.pool != nil {
		r.pool.Close()
	}
	if r.servers != nil {
		_ = r.servers.Close() // nothing is under way
	}
}

var processorGroup, sinkGroup = consume.DefaultConfig().Group, sink.DefaultConfig().Group

// Examine tells how the partitions of the event topics stand. It reads who follows before who leads, so
// that what moves on meanwhile is no finding.
func (r *Recovery) Examine(ctx context.Context) ([]Partition, error) {
	told, err := r.told(ctx)
	if err != nil {
		return nil, err
	}
	sources, err := sink.Sources(ctx, r.columns)
	if err != nil && !errors.Is(err, sink.ErrRebuilding) { // which Mend ends
		return nil, err
	}
	inserted, err := r.inserted(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := r.rows(ctx)
	if err != nil {
		return nil, err
	}
	starts, ends, err := r.bounds(ctx, event.TopicEvents, event.TopicBackfill)
	if err != nil {
		return nil, err
	}
	var all []Partition
	for _, end := range ends.Offsets().Sorted() {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		p := Partition{Topic: end.Topic, Partition: end.Partition, LogStart: start.Offset, LogEnd: end.At, Told: -1,
			Processed: rows[place{end.Topic, end.Partition}]}
		if o, ok := told.Lookup(end.Topic, end.Partition); ok {
			p.Told = o.At
		}
		p.Ahead = max(0, sources[source(end.Topic, end.Partition)]-p.Processed)
		p.judge(inserted[place{end.Topic, end.Partition}])
		all = append(all, p)
	}
	wholeTopics(all)
	return all, nil
}

// wholeTopics: a topic is made anew with all its partitions, those included that have grown beyond what
// was processed of the old ones.
func wholeTopics(all []Partition) {
	anew := map[string]bool{}
	for _, p := range all {
		anew[p.Topic] = anew[p.Topic] || p.NotThisLog
	}
	for i := range all {
		if p := &all[i]; anew[p.Topic] {
			p.NotThisLog, p.Again, p.Ahead, p.Lost, p.LostRows = true, 0, 0, 0, 0
		}
	}
}

// judge compares. A partition without a row, or that ClickHouse has nothing of, was never begun: then
// nobody knows what the log once had.
func (p *Partition) judge(inserted int64) {
	switch {
	case p.Processed > p.LogEnd:
		p.NotThisLog = true
	case p.Processed > 0 && p.Processed < p.LogStart:
		p.Lost = p.LogStart - p.Processed
	}
	if p.Told > p.Processed {
		p.Again = max(0, min(p.Told, p.LogEnd)-max(p.Processed, p.LogStart))
	}
	if inserted > 0 && inserted < p.LogStart {
		p.LostRows = p.LogStart - inserted
	}
}

type place struct {
	topic     string
	partition int32
}

// told is what the processor has told its group; nothing, where the log is new.
func (r *Recovery) told(ctx context.Context) (kadm.OffsetResponses, error) {
	told, err := r.admin.FetchOffsets(ctx, processorGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("read the group's offsets: %w", err)
	}
	return told, nil
}

// source is how changes name the partition they come of.
func source(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// rows are the offset rows.
func (r *Recovery) rows(ctx context.Context) (map[place]int64, error) {
	offsets, err := r.plane.Offsets(ctx)
	if err != nil {
		return nil, err
	}
	rows := map[place]int64{}
	for _, o := range offsets {
		rows[place{o.Topic, o.Partition}] = o.Next
	}
	return rows, nil
}

// inserted is how far the sink is.
func (r *Recovery) inserted(ctx context.Context) (map[place]int64, error) {
	positions, err := query.Positions(ctx, r.columns)
	if err != nil {
		return nil, err
	}
	rows := map[place]int64{}
	for _, p := range positions {
		rows[place{p.Topic, p.Partition}] = p.NextOffset
	}
	return rows, nil
}

func (r *Recovery) bounds(ctx context.Context, topics ...string) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = r.admin.ListStartOffsets(ctx, topics...); err == nil {
		err = starts.Error()
	}
	if err == nil {
		ends, err = r.admin.ListEndOffsets(ctx, topics...)
	}
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		err = fmt.Errorf("read the log's bounds: %w", err)
	}
	return starts, ends, err
}

// Sum adds up what a number of partitions has of something.
func Sum(all []Partition, of func(Partition) int64) (n int64) {
	for _, p := range all {
		n += of(p)
	}
	return n
}

// Other tells whether one of the partitions is of another log.
func Other(all []Partition) bool {
	return slices.ContainsFunc(all, func(p Partition) bool { return p.NotThisLog })
}
