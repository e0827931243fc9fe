package produce

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxBuffered bounds what the client holds. A lane hands it one group and one delivery of the spool
// at a time, so the bound is never met; it is there so that a bug blocks instead of filling memory.
const maxBuffered = 1 << 20

// enough is how many records always are a group. What a produce request costs is hardly seen in each of them.
const enough = 128

// linger is how long the client waits for company to a record. It is ended for a whole group at once;
// only what is sent before the topic's partitions are known really waits.
const linger = 5 * time.Millisecond

// Config of a lane.
type Config struct {
	Brokers      []string
	AckWithin    time.Duration // the log's time to answer; then the records go to the spool
	SpoolWithin  time.Duration // the disk's time to answer; then the request fails
	DialTimeout  time.Duration
	RetryAfter   time.Duration // between the client's attempts
	GroupRecords int           // that may gather while a group is under way; more go to the spool
	Pace         time.Duration // between groups that grow smaller, at least; see Lane.company
	BatchBytes   int32         // one record batch, before compression; at most the broker's limit
	Options      []kgo.Opt     // TLS, SASL and such
}

// DefaultConfig answers within three seconds whatever happens, of the five that a request has.
func DefaultConfig() Config {
	return Config{
		AckWithin:    2 * time.Second,
		SpoolWithin:  time.Second,
		DialTimeout:  2 * time.Second,
		RetryAfter:   100 * time.Millisecond,
		GroupRecords: 100_000,
		Pace:         2 * time.Millisecond,
		BatchBytes:   1_000_012,
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("produce: brokers are missing"))
	}
	if c.AckWithin < time.Millisecond || c.SpoolWithin < time.Millisecond || c.DialTimeout <= 0 || c.RetryAfter <= 0 {
		errs = append(errs, errors.New("produce: ack_within and spool_within must be at least 1 ms, dial_timeout and retry_after positive"))
	}
	if c.Pace < 0 || c.Pace >= c.AckWithin {
		errs = append(errs, errors.New("produce: pace must be at least 0 and less than ack_within"))
	}
	if c.GroupRecords < 1 || c.BatchBytes < 64<<10 {
		errs = append(errs, errors.New("produce: group_records must be at least 1 and batch_bytes at least 64 KiB"))
	}
	return errors.Join(errs...)
}
