// Package transfer copies all of one ClickHouse into another: from the embedded engine to a server,
// from a server to a larger one. It goes over HTTP, through this process, so that the two need not
// reach each other; rows travel as ClickHouse's own compressed blocks and are not looked at.
//
// A table is cut into chunks. Of each chunk both sides tell the number of rows and a sum of their
// hashes; a chunk that differs is emptied at the destination and copied. So a transfer that was
// interrupted goes on where it was, one that is run again finds nothing to do, and the end of every
// run is the comparison of all there is.
//
// A destination that is a server of a cluster of shards gets the rows that are its shard's: Run is to be called
// for one server of each.
//
// Nobody may write to either side meanwhile: the sink is to be stopped. Its place in the log is copied
// last, so that one started on the destination goes on from there.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
)

// Config of a transfer.
type Config struct {
	From, To  string // http(s)://user:password@host:port/?database=keystone
	ChunkRows int64  // of a table that are compared and copied together, about
	// Progress is told, by one goroutine, how many of the rows are at the destination. Nil is none.
	Progress func(done, total int64)
}

// DefaultConfig copies half a million rows at a time.
func DefaultConfig() Config { return Config{ChunkRows: 500_000} }

// Report is what was done, by table.
type Report []Table

// Table is one table's part.
type Table struct {
	Name   string `json:"table"`
	Rows   int64  `json:"rows"`   // of the source: of a table of a current state, those that are current
	Copied int64  `json:"copied"` // by this run; the others were there
	Chunks int    `json:"chunks"`
}

// positions is where the sink keeps its place in the log: to be copied last.
const positions = "sink_positions"

// Run copies what the destination lacks, and compares all. The destination's schema is brought up to
// date first; the source's must be this build's. An error leaves what was copied: run it again.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.ChunkRows < 1 {
		return nil, errors.New("transfer: chunk_rows must be at least 1")
	}
	from, err := newSide(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	to, err := newSide(cfg.To)
	if err != nil {
		return nil, fmt.Errorf("the destination: %w", err)
	}
	cluster, err := alike(ctx, from, to)
	if err != nil {
		return nil, err
	}
	tables, err := from.tables(ctx)
	if err != nil {
		return nil, err
	}
	if cluster != "" {
		own, shards, err := to.place(ctx, cluster)
		if err != nil {
			return nil, fmt.Errorf("the destination: %w", err)
		}
		for i := range tables {
			t := &tables[i]
			t.target, t.where = shard.Layout{Cluster: cluster}.Local(t.name), shard.Condition(t.name, own, shards)
		}
	}
	slices.SortStableFunc(tables, func(a, b table) int { return compareBool(a.name == positions, b.name == positions) })
	c := copier{from: from, to: to, progress: cfg.Progress}
	for i := range tables {
		if err := tables[i].cut(ctx, from, cfg.ChunkRows); err != nil {
			return nil, err
		}
		c.total += tables[i].rows
	}
	var report Report
	for i := range tables {
		copied, err := c.table(ctx, &tables[i])
		if err != nil {
			return report, fmt.Errorf("copy %s: %w", tables[i].name, err)
		}
		report = append(report, Table{Name: tables[i].name, Rows: tables[i].rows, Copied: copied, Chunks: len(tables[i].chunks)})
	}
	return report, c.verify(ctx, tables)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// alike brings the destination to this build's schema, and wants the source to have it. It answers the
// cluster of whose shards the destination is.
func alike(ctx context.Context, from, to *side) (cluster string, err error) {
	source, engines, err := open(ctx, from)
	if err != nil {
		return "", fmt.Errorf("the source: %w", err)
	}
	defer source.Close() //nolint:errcheck // it was only read from
	if engines.Cluster != "" {
		return "", errors.New("the source is a cluster of shards: rows can be copied to shards, and not from them")
	}
	have, want, err := source.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("read the source's schema: %w", err)
	}
	if have != want {
		return "", fmt.Errorf("the source has schema %d and this build wants %d: run `keystone migrate` on it first", have, want)
	}
	destination, engines, err := open(ctx, to)
	if err != nil {
		return "", fmt.Errorf("the destination: %w", err)
	}
	defer destination.Close() //nolint:errcheck // each statement has told its error
	if _, err := destination.Up(ctx); err != nil {
		return "", fmt.Errorf("bring the destination up to date: %w", err)
	}
	return engines.Cluster, nil
}

// open is a migrator for the engines that a side was made of: of one that is empty, one server's.
func open(ctx context.Context, s *side) (*schema.Migrator, schema.Engines, error) {
	m, err := schema.New(s.dsn(), schema.Engines{})
	if err != nil {
		return nil, schema.Engines{}, err
	}
	engines, _, err := m.Made(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return nil, engines, err
	}
	m, err = schema.New(s.dsn(), engines)
	return m, engines, err
}

// copier copies tables one after the other.
type copier struct {
	from, to    *side
	progress    func(done, total int64)
	done, total int64
}

// table copies the chunks that differ.
func (c *copier) table(ctx context.Context, t *table) (copied int64, err error) {
	there, err := c.to.prints(ctx, t.there())
	if err != nil {
		return 0, err
	}
	for _, name := range t.chunks {
		want := t.prints[name]
		if have, ok := there[name]; have != want {
			if ok {
				if err := c.to.empty(ctx, t, name); err != nil {
					return copied, err
				}
			}
			if err := c.chunk(ctx, t, name); err != nil {
				return copied, fmt.Errorf("chunk %s: %w", name, err)
			}
			copied += want.rows
		}
		delete(there, name)
		c.done += want.rows
		if c.progress != nil {
			c.progress(c.done, c.total)
		}
	}
	for name := range there { // what the source does not have: of another transfer, or of a sink
		return copied, fmt.Errorf("the destination has rows that the source lacks (%s): give it an empty database", name)
	}
	return copied, nil
}

// chunk pipes rows from one side to the other.
func (c *copier) chunk(ctx context.Context, t *table, name string) error {
	rows, err := c.from.query(ctx, t.selectChunk(name), url.Values{"compress": {"1"}})
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // it was only read from
	// The token: a block that was there before and was emptied since must not count as a repetition.
	return c.to.insert(ctx, t.insert(), rows, url.Values{"decompress": {"1"}, "insert_deduplication_token": {uuid.NewString()}, "async_insert": {"0"}})
}

// verify compares all of both sides.
func (c *copier) verify(ctx context.Context, tables []table) error {
	var wrong []string
	for i := range tables {
		there, err := c.to.prints(ctx, tables[i].there())
		if err != nil {
			return fmt.Errorf("compare %s: %w", tables[i].name, err)
		}
		here, err := c.from.prints(ctx, tables[i].here())
		if err != nil {
			return fmt.Errorf("compare %s: %w", tables[i].name, err)
		}
		for name, p := range here {
			if there[name] != p {
				wrong = append(wrong, tables[i].name+" "+name)
			}
			delete(there, name)
		}
		for name := range there {
			wrong = append(wrong, tables[i].name+" "+name)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("the two sides differ in %d chunks, %s among them: is a sink still running? Stop it and run this again", len(wrong), strings.Join(wrong[:min(len(wrong), 3)], ", "))
	}
	return nil
}
