package consume

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Config bounds the consumer. Every queue, batch and retry has its limit here.
type Config struct {
	Brokers  []string
	Access   []kgo.Opt // to the log: TLS, SASL
	Group    string    // consumer group: for assignment, and for tools that look at lag
	Instance string    // this process, for people who look at who owns a partition
	ClientID string    // of the clients of the log

	BatchRecords int // per transaction, at most
	BatchBytes   int // of record values per transaction, at most, but for a single larger one
	QueueRecords int // per partition, fetched and not yet taken; then fetching pauses
	QueueBytes   int // likewise

	RetryMin       time.Duration // wait while the store is down, doubled up to RetryMax
	RetryMax       time.Duration
	PoisonAttempts int           // of a record alone, before it is given up
	MaxPoisoned    int           // records given up in a row, before it is taken for our fault
	FenceWait      time.Duration // after losing a partition to somebody, before claiming it back
	LogBehind      time.Duration // how long the log may end before the offset row, before that is fatal
	BackfillWait   time.Duration // how long live traffic may hold a batch of the backfill up
	RevokeTimeout  time.Duration // to finish a batch when a partition is taken away
	CommitEvery    time.Duration // group offsets, for tools
	SessionTimeout time.Duration // without a sign of life, before others take this process's partitions over
	TenantTTL      time.Duration // how old a tenant's settings may be

	Limits event.Limits // of an event: at least the edge's
}

// DefaultConfig lacks Brokers and Instance.
func DefaultConfig() Config {
	return Config{
		Group:          "keystone-processor",
		ClientID:       "keystone-processor",
		BatchRecords:   1000,
		BatchBytes:     1 << 20,
		QueueRecords:   10_000,
		QueueBytes:     8 << 20,
		RetryMin:       50 * time.Millisecond,
		RetryMax:       5 * time.Second,
		PoisonAttempts: 3,
		MaxPoisoned:    100,
		FenceWait:      time.Minute, // more than SessionTimeout
		LogBehind:      30 * time.Second,
		BackfillWait:   2 * time.Second,
		RevokeTimeout:  10 * time.Second,
		CommitEvery:    time.Second,
		SessionTimeout: 15 * time.Second,
		TenantTTL:      10 * time.Second,
		Limits:         event.DefaultLimits(),
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("brokers must name at least one"))
	}
	for _, x := range []struct{ name, value string }{{"group", c.Group}, {"instance", c.Instance}} {
		if x.value == "" {
			errs = append(errs, fmt.Errorf("%s must not be empty", x.name))
		}
	}
	for _, x := range []struct {
		name  string
		value int
	}{
		{"batch_records", c.BatchRecords}, {"batch_bytes", c.BatchBytes}, {"queue_records", c.QueueRecords},
		{"queue_bytes", c.QueueBytes}, {"poison_attempts", c.PoisonAttempts}, {"max_poisoned", c.MaxPoisoned},
		{"limits.event_bytes", c.Limits.EventBytes}, {"limits.depth", c.Limits.Depth},
	} {
		if x.value < 1 {
			errs = append(errs, fmt.Errorf("%s must be positive", x.name))
		}
	}
	for _, x := range []struct {
		name  string
		value time.Duration
	}{
		{"retry_min", c.RetryMin}, {"fence_wait", c.FenceWait}, {"log_behind", c.LogBehind}, {"backfill_wait", c.BackfillWait},
		{"revoke_timeout", c.RevokeTimeout}, {"commit_every", c.CommitEvery}, {"session_timeout", c.SessionTimeout},
		{"tenant_ttl", c.TenantTTL},
	} {
		if x.value <= 0 {
			errs = append(errs, fmt.Errorf("%s must be positive", x.name))
		}
	}
	if c.RetryMax < c.RetryMin {
		errs = append(errs, errors.New("retry_max must be at least retry_min"))
	}
	return errors.Join(errs...)
}
