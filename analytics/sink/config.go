package sink

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// Config says where the log is and how much the sink may take at once.
type Config struct {
	Brokers []string  // host:port of the log
	Access  []kgo.Opt // to it: TLS, SASL

	// Group is the consumer group. It hands out partitions and no more: how far the sink got is in
	// ClickHouse. Offsets are committed to it for lag tools.
	Group string
	// ClientID names the client of the log.
	ClientID string
	// InstanceID makes a restarted process the same member of the group, so that it gets its
	// partitions back at once. Empty: a new member every time.
	InstanceID string
	// SessionTimeout is after how long without a sign of life a process loses its partitions.
	SessionTimeout time.Duration

	// BatchRows and BatchBytes (of records in the log) end a batch: what one INSERT holds at most.
	BatchRows  int
	BatchBytes int
	// MinFlush is the shortest time between two inserts of one partition while there is little to
	// insert; an event that comes after a longer silence is written at once. MaxFlush is how long an
	// event waits for others, at most, unless ClickHouse or SmallInserts hold it up.
	MinFlush time.Duration
	MaxFlush time.Duration
	// SmallInserts bounds the batches per second of this process that are not full: ClickHouse makes a
	// part of each insert, and has to merge them.
	SmallInserts int
	// BufferBytes bounds the records in memory, those being decoded and inserted included. Beyond it
	// the sink stops fetching; one fetch from each broker, uncompressed, may come on top.
	BufferBytes int
	// FetchBytes bounds one answer of a broker.
	FetchBytes int
	// InsertTimeout bounds one attempt to insert; a failed one is repeated for ever.
	InsertTimeout time.Duration
	// PositionInterval is how often positions are written to ClickHouse.
	PositionInterval time.Duration

	// SeenWindow is how long a message id is remembered, to remove the client's retries.
	// SeenMessages bounds how many are, at 7 to 14 bytes each: when there are more, the window is
	// shorter (keystone_sink_seen_window_seconds tells).
	SeenWindow   time.Duration
	SeenMessages int

	// Limits are the edge's limits of one event.
	Limits event.Limits

	Tracer *trace.Tracer // nil: no traces
}

// DefaultConfig fits a small machine. Brokers must be set.
func DefaultConfig() Config {
	return Config{
		Group:            "keystone-sink",
		ClientID:         "keystone-sink",
		SessionTimeout:   15 * time.Second,
		BatchRows:        50_000,
		BatchBytes:       64 << 20,
		MinFlush:         200 * time.Millisecond,
		MaxFlush:         time.Second,
		SmallInserts:     20,
		BufferBytes:      256 << 20,
		FetchBytes:       8 << 20,
		InsertTimeout:    time.Minute,
		PositionInterval: time.Second,
		SeenWindow:       7 * 24 * time.Hour,
		SeenMessages:     16_000_000,
		Limits:           event.DefaultLimits(),
	}
}

// maxBatchBytes is what pendingSlot can tell apart, twice.
const maxBatchBytes = 1 << 31

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	broken := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		broken("brokers must be set")
	}
	if c.Group == "" {
		broken("group must be set")
	}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"batch_rows", c.BatchRows}, {"batch_bytes", c.BatchBytes}, {"small_inserts", c.SmallInserts},
		{"buffer_bytes", c.BufferBytes}, {"fetch_bytes", c.FetchBytes}, {"seen_messages", c.SeenMessages},
		{"limits.event_bytes", c.Limits.EventBytes}, {"limits.depth", c.Limits.Depth},
	} {
		if limit.value <= 0 {
			broken("%s must be positive, not %d", limit.name, limit.value)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"session_timeout", c.SessionTimeout}, {"min_flush", c.MinFlush}, {"max_flush", c.MaxFlush},
		{"insert_timeout", c.InsertTimeout}, {"position_interval", c.PositionInterval}, {"seen_window", c.SeenWindow},
	} {
		if d.value <= 0 {
			broken("%s must be positive, not %s", d.name, d.value)
		}
	}
	if c.BatchBytes > maxBatchBytes {
		broken("batch_bytes must not exceed %d, and is %d", maxBatchBytes, c.BatchBytes)
	}
	if c.MinFlush > c.MaxFlush {
		broken("min_flush (%s) must not exceed max_flush (%s)", c.MinFlush, c.MaxFlush)
	}
	if c.FetchBytes > c.BufferBytes {
		broken("fetch_bytes (%d) must not exceed buffer_bytes (%d)", c.FetchBytes, c.BufferBytes)
	}
	return errors.Join(errs...)
}
