package sink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Standing is where a rebuild lets sinks go on.
type Standing struct {
	// Ends are the offsets after the last records of keystone.changes, by partition, as of before the
	// snapshot was begun.
	Ends map[int32]int64
	// Sources is how far each source of changes ("topic/partition") has come in the snapshot: what
	// comes of it up to there is in it.
	Sources map[string]int64
}

// Place is an offset of a partition.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// rebuilding is the row of sink_positions that says whether a rebuild was begun (0) or has ended (1).
var rebuilding = tp{event.TopicChanges, -1}

const (
	rebuildBegun int64 = iota
	rebuildEnded
)

// ErrRebuilding keeps sinks from taking half of the tables for all of them.
var ErrRebuilding = errors.New("a rebuild of the state tables was begun and has not ended: keystone recover --yes, until it succeeds")

// Bounds of one batch of a rebuild.
const (
	rebuildRows  = 20_000
	rebuildBytes = 16 << 20 // of JSON texts
)

// Rebuilder makes the tables of the processor's state anew, from a snapshot of the state store. It is for
// when the log cannot tell any more what leads from the one to the other: after one of them, or the log,
// was restored to another moment. Begin comes first; between the two nothing but Rebuild brings sinks back.
// No sink may run, and whoever has a sink see to that: a lane remembers where it is.
type Rebuilder struct {
	servers *shard.Servers
	insert  *inserter
	now     func() time.Time
}

// NewRebuilder makes one that writes to servers, which stay the caller's.
func NewRebuilder(servers *shard.Servers, log *slog.Logger) *Rebuilder {
	return &Rebuilder{servers: servers, now: time.Now, insert: &inserter{servers: servers, timeout: DefaultConfig().InsertTimeout,
		metrics: newMetrics(prometheus.NewRegistry()), log: log, failing: map[string]error{}}}
}

// Begin says that the tables are not to be relied upon, and empties them. anew are the partitions of the
// events' topics whose log is another one than that which was read, and where it starts: sinks begin there.
// Running it again is fine.
func (r *Rebuilder) Begin(ctx context.Context, anew ...Place) error {
	if err := r.mark(ctx, rebuildBegun); err != nil {
		return err
	}
	positions := map[tp]position{}
	for _, p := range anew {
		place := tp{p.Topic, p.Partition}
		now, err := r.after(ctx, place)
		if err != nil {
			return err
		}
		positions[place] = position{next: p.Offset, logSince: now, at: now}
	}
	if err := r.save(ctx, positions); err != nil {
		return err
	}
	set, err := r.servers.Get(ctx)
	if err != nil {
		return err
	}
	for _, conn := range set.All() {
		for _, table := range newChangeTables(tp{}, 1).all {
			// The table's name is one of ours.
			if err := conn.Exec(ctx, "TRUNCATE TABLE "+set.Local(table.table)); err != nil {
				return fmt.Errorf("empty %s: %w", table.table, err)
			}
		}
	}
	return nil
}

// Rebuild fills the tables with a snapshot, and lets sinks go on behind it. It answers how many rows it
// wrote.
func (r *Rebuilder) Rebuild(ctx context.Context, at Standing, snapshot iter.Seq2[event.Change, error]) (rows int64, err error) {
	set, err := r.servers.Get(ctx)
	if err != nil {
		return 0, err
	}
	// Not a place in the log, and below any: so no sink takes these rows for its own.
	place := tp{}
	tables := newChangeTables(place, len(set.All()))
	batch := span{tp: rebuilding, began: r.now()}
	bytes := 0
	flush := func() error {
		tables.load(r.now())
		if err := tables.insert(ctx, r.insert, batch); err != nil {
			return err
		}
		rows += int64(tables.rows())
		tables.reset()
		batch.first, bytes = batch.last+1, 0
		return nil
	}
	for change, err := range snapshot {
		if err != nil {
			return rows, err
		}
		tables.add(&change, place, 0, true, true)
		batch.last++
		if bytes += weight(&change); tables.rows() >= rebuildRows || bytes >= rebuildBytes {
			if err := flush(); err != nil {
				return rows, err
			}
		}
	}
	if err := flush(); err != nil {
		return rows, err
	}
	return rows, r.goOn(ctx, at)
}

// goOn saves the positions, then that the rebuild has ended.
func (r *Rebuilder) goOn(ctx context.Context, at Standing) error {
	sources := marks{}
	for name, next := range at.Sources {
		sources[name] = [2]int64{next, math.MaxInt64}
	}
	positions := map[tp]position{}
	for partition, end := range at.Ends {
		place := tp{event.TopicChanges, partition}
		now, err := r.after(ctx, place)
		if err != nil {
			return err
		}
		positions[place] = position{next: end, marks: sources, at: now}
	}
	if err := r.save(ctx, positions); err != nil {
		return err
	}
	return r.mark(ctx, rebuildEnded)
}

func (r *Rebuilder) save(ctx context.Context, positions map[tp]position) error {
	if len(positions) == 0 {
		return nil
	}
	return savePositions(ctx, r.servers, positions)
}

func (r *Rebuilder) mark(ctx context.Context, state int64) error {
	now, err := r.after(ctx, rebuilding)
	if err != nil {
		return err
	}
	return savePositions(ctx, r.servers, map[tp]position{rebuilding: {next: state, at: now}})
}

// after is now, or right after a position that was saved by a clock that is ahead: the latest counts.
func (r *Rebuilder) after(ctx context.Context, place tp) (time.Time, error) {
	set, err := r.servers.Get(ctx)
	if err != nil {
		return time.Time{}, err
	}
	before, err := lastPosition(ctx, set, place)
	now := r.now()
	if err == nil && !before.at.Before(now) {
		now = before.at.Add(time.Microsecond)
	}
	return now, err
}

// Sources is what the state tables have of each source of changes ("topic/partition"): the offset that the
// processor had come to. It is an error where they are not whole.
func Sources(ctx context.Context, conn driver.Conn) (map[string]int64, error) {
	mark, err := readPosition(ctx, conn, tablePositions, rebuilding)
	if err == nil {
		err = mark.rebuilt()
	}
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT marks FROM sink_positions FINAL WHERE topic = $1 AND partition >= 0", event.TopicChanges)
	if err != nil {
		return nil, fmt.Errorf("read the changes' sources: %w", err)
	}
	defer rows.Close()
	sources := map[string]int64{}
	for rows.Next() {
		var text string
		var taken marks
		err := rows.Scan(&text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &taken)
		}
		if err != nil {
			return nil, fmt.Errorf("read the changes' sources: %w", err)
		}
		for name, mark := range taken {
			sources[name] = max(sources[name], mark[0])
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the changes' sources: %w", err)
	}
	return sources, nil
}

// rebuilt tells by the position of rebuilding whether the state tables are whole.
func (p position) rebuilt() error {
	if !p.at.IsZero() && p.next == rebuildBegun {
		return ErrRebuilding
	}
	return nil
}

// weight is about what a change takes in memory beside its rows.
func weight(c *event.Change) (n int) {
	if c.Profile != nil {
		n += len(c.Profile.Attributes)
	}
	for i := range c.Lineage {
		n += len(c.Lineage[i].Old) + len(c.Lineage[i].New)
	}
	for i := range c.Merges {
		m := &c.Merges[i]
		n += len(m.Winner.Attributes) + len(m.Loser.Attributes) + 100*len(m.MovedIdentifiers)
	}
	for i := range c.Orders {
		n += 100 * len(c.Orders[i].Items)
	}
	return n
}
