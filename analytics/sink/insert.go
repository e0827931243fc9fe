package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/analytics/shard"
)

// Waits between attempts of what must succeed in the end.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	// failureInterval bounds the log lines about failures.
	failureInterval = 10 * time.Second
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
	servers *shard.Servers
	timeout time.Duration
	metrics *metrics
	log     *slog.Logger

	mu      sync.Mutex
	failing map[string]error // by table: the last failure; none once it succeeds
	quiet   time.Time        // until then failures are not logged
}

// one writes the rows to the shard of their partition.
func (w *inserter) one(ctx context.Context, rows *rowset, at span) error {
	return w.insert(ctx, rows, at, func(set *shard.Set) driver.Conn { return set.Of(at.partition) })
}

// insert writes the rows in one INSERT: one part, whole or not at all. Its token is
// the span, so that a repetition of an attempt whose answer was lost changes nothing. It answers only
// once that is done or ctx ends.
func (w *inserter) insert(ctx context.Context, rows *rowset, at span, to func(*shard.Set) driver.Conn) error {
	if rows.rows == 0 {
		return nil
	}
	ctx, done := inserting(ctx, rows.table, rows.rows)
	err := w.retry(ctx, rows.table, func(ctx context.Context) error {
		set, err := w.servers.Get(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := w.try(ctx, to(set), set.Local(rows.table), rows, at); err != nil {
			return fmt.Errorf("insert into %s, offsets %s: %w", rows.table, at, err)
		}
		w.metrics.seconds.WithLabelValues(rows.table).Observe(time.Since(start).Seconds())
		w.metrics.rows.WithLabelValues(rows.table).Add(float64(rows.rows))
		return nil
	})
	done(err)
	return err
}

// retry repeats do until it succeeds or ctx ends. Each attempt has its own deadline.
func (w *inserter) retry(ctx context.Context, table string, do func(context.Context) error) error {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, w.timeout)
		err := do(attempt)
		cancel()
		if ctx.Err() != nil && err != nil {
			return ctx.Err()
		}
		w.note(ctx, table, err)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
	}
}

// note keeps the outcome of an attempt for Ready, and tells the log now and then.
func (w *inserter) note(ctx context.Context, table string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.failing, table)
		return
	}
	w.failing[table] = err
	w.metrics.failures.WithLabelValues(table).Inc()
	if now := time.Now(); now.After(w.quiet) {
		w.quiet = now.Add(failureInterval)
		w.log.ErrorContext(ctx, "clickhouse fails, will go on trying", "error", err)
	}
}

// failure is why what was tried last failed, or nil.
func (w *inserter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.failing {
		return err
	}
	return nil
}

func (w *inserter) try(ctx context.Context, conn driver.Conn, table string, rows *rowset, at span) error {
	ctx = clickhouse.Context(ctx,
		clickhouse.WithSpan(oteltrace.SpanContextFromContext(ctx)),
		clickhouse.WithQueryID(fmt.Sprintf("%s%d-%d/%s", queryPrefix(at.tp), at.first, at.last, rows.table)),
		clickhouse.WithSettings(clickhouse.Settings{
			"async_insert":               0,
			"insert_deduplicate":         1,
			"insert_deduplication_token": at.token(),
			// The server builds the dictionaries of LowCardinality columns; the driver would, with a
			// map and an allocation for every value.
			"low_cardinality_allow_in_native_format": 0,
			// The server gathers our blocks until the end of the INSERT: it makes one part of them, or none.
			"min_insert_block_size_rows":  1 << 40,
			"min_insert_block_size_bytes": 0,
		}))
	batch, err := conn.PrepareBatch(ctx, rows.statement(table))
	if err != nil {
		return err
	}
	defer func() {
		if !batch.IsSent() {
			_ = batch.Abort() // the error that stopped us is the one to tell
		}
	}()
	b, err := newBlock(batch, rows)
	if err != nil {
		return err
	}
	for i := 0; i*blockRows < rows.rows; i++ {
		if i > 0 {
			if err := batch.Flush(); err != nil {
				return err
			}
		}
		if err := b.fill(rows, i); err != nil {
			return err
		}
	}
	return batch.Send()
}
