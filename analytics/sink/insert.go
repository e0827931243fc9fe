package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Waits between attempts of what must succeed in the end.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// tp is a partition of a topic.
type tp struct {
	topic     string
	partition int32
}

func (at tp) String() string { return fmt.Sprintf("%s/%d", at.topic, at.partition) }

// span is a range of offsets of one partition, both ends included.
type span struct {
	tp
	first, last int64
	began       time.Time // of the first record: tells the log from another one of the same name
}

func (s span) String() string { return fmt.Sprintf("%s/%d-%d", s.tp, s.first, s.last) }

// token is the same for the same records, and for no others.
func (s span) token() string { return fmt.Sprintf("%s@%d", s, s.began.UnixMilli()) }

// queryPrefix begins the ids of all inserts of a partition, so that they can be told in
// system.processes: see quiet.
func queryPrefix(at tp) string { return "keystone-sink/" + at.String() + "/" }

// inserter writes blocks to ClickHouse and repeats what fails, for ever: the log keeps what is not
// written, so ClickHouse being away is a lag and no loss. It is safe for use by several goroutines.
type inserter struct {
	conn    driver.Conn
	timeout time.Duration
	metrics *metrics
	log     *slog.Logger
	failing atomic.Pointer[error] // the last failure; nil while inserts succeed
}

// insert writes the rows as one block: one INSERT, one part, whole or not at all. Its token is
// the span, so that a repetition of an attempt whose answer was lost changes nothing. It answers only
// once that is done or ctx ends.
func (w *inserter) insert(ctx context.Context, rows *rowset, at span) error {
	if rows.rows == 0 {
		return nil
	}
	return w.retry(ctx, rows.table, func(ctx context.Context) error {
		start := time.Now()
		if err := w.try(ctx, rows.table, rows.all, at); err != nil {
			return fmt.Errorf("insert into %s, offsets %s: %w", rows.table, at, err)
		}
		w.metrics.seconds.WithLabelValues(rows.table).Observe(time.Since(start).Seconds())
		w.metrics.rows.WithLabelValues(rows.table).Add(float64(rows.rows))
		return nil
	})
}

// retry repeats do until it succeeds or ctx ends. Each attempt has its own deadline.
func (w *inserter) retry(ctx context.Context, table string, do func(context.Context) error) error {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, w.timeout)
		err := do(attempt)
		cancel()
		if err == nil {
			if w.failing.Swap(nil) != nil {
				w.log.InfoContext(ctx, "clickhouse answers again")
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.metrics.failures.WithLabelValues(table).Inc()
		if w.failing.Swap(&err) == nil { // once for each outage
			w.log.ErrorContext(ctx, "clickhouse fails, will go on trying", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
	}
}

// failure is why the last attempt failed, or nil.
func (w *inserter) failure() error {
	if err := w.failing.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *inserter) try(ctx context.Context, table string, columns []column, at span) error {
	ctx = clickhouse.Context(ctx,
		clickhouse.WithQueryID(fmt.Sprintf("%s%d-%d/%s", queryPrefix(at.tp), at.first, at.last, table)),
		clickhouse.WithSettings(clickhouse.Settings{
			"async_insert":               0,
			"insert_deduplicate":         1,
			"insert_deduplication_token": at.token(),
			// The server builds the dictionaries of LowCardinality columns; the driver would, with a
			// map and an allocation for every value.
			"low_cardinality_allow_in_native_format": 0,
		}))
	batch, err := w.conn.PrepareBatch(ctx, statement(table, columns))
	if err != nil {
		return err
	}
	defer func() {
		if !batch.IsSent() {
			_ = batch.Abort() // the error that stopped us is the one to tell
		}
	}()
	for i, c := range columns {
		if err := c.send(batch, i); err != nil {
			return fmt.Errorf("column %s: %w", c.title(), err)
		}
	}
	return batch.Send()
}

// statement is INSERT INTO table with the columns' names. Both are ours, never a client's.
func statement(table string, columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = "`" + c.title() + "`"
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ")"
}
