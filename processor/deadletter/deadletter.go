// Package deadletter is what an operator does with records that could not be processed: look at them,
// put them into the log again once the cause is gone, or drop them (spec 3.1, 3.3).
//
// A dead letter is in two places. Its row in the state store says what became of it; its record in
// keystone.dlq has what a replay takes. The processor (processor/consume) writes both; this package
// reads them, produces, and moves the row's state, by compare-and-set around the producing: a letter
// is never replayed by two commands at once, and one whose command died in between says so.
//
// It does not process anything, and runs in commands only. A Queue has no goroutines of its own but
// its client's; the caller closes it, and owns the store.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/processor/store"
)

// The errors to tell apart.
var (
	// ErrUnknown says that there is no such dead letter.
	ErrUnknown = errors.New("no such dead letter")
	// ErrAmbiguous says that several tenants have a letter of that place.
	ErrAmbiguous = errors.New("several tenants have a dead letter of that place; name the tenant")
	// ErrSettled says that a letter is not open any more.
	ErrSettled = errors.New("not open")
	// ErrGone says that the record is in the log no more.
	ErrGone = errors.New("the record is gone")
)

// Store is what a queue asks of the state store. processor/store is one.
type Store interface {
	ListDeadLetters(ctx context.Context, f store.DeadLetterFilter) iter.Seq2[store.DeadLetterRow, error]
	DeadLettersAt(ctx context.Context, topic string, partition int32, offset int64) ([]store.DeadLetterRow, error)
	ChangeDeadLetters(ctx context.Context, changes []store.DeadLetterChange) (map[store.DeadLetterKey]struct{}, error)
	Processed(ctx context.Context, topic string, partition int32) (next int64, err error)
}

// ID is the place in the log of the record that was given up. People type it: topic/partition/offset.
type ID struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (id ID) String() string {
	return id.Topic + "/" + strconv.Itoa(int(id.Partition)) + "/" + strconv.FormatInt(id.Offset, 10)
}

// ParseID reads what String writes.
func ParseID(text string) (ID, error) {
	parts := strings.Split(text, "/")
	if len(parts) == 3 && parts[0] != "" {
		partition, badPartition := strconv.ParseUint(parts[1], 10, 31)
		offset, badOffset := strconv.ParseUint(parts[2], 10, 63)
		if badPartition == nil && badOffset == nil {
			return ID{parts[0], int32(partition), int64(offset)}, nil
		}
	}
	return ID{}, fmt.Errorf("%q is no dead letter's id: topic/partition/offset, as dlq list prints it", text)
}

// IDOf is a letter's id.
func IDOf(l *store.DeadLetterRow) ID { return ID{l.Topic, l.Partition, l.Offset} }

// ReplayOf is where a letter's replay is, if it has one: the id it has if it failed again.
func ReplayOf(l *store.DeadLetterRow) (ID, bool) {
	if l.ReplayedOffset == nil {
		return ID{}, false
	}
	return ID{l.Topic, l.Partition, *l.ReplayedOffset}, true
}

// Queue is the dead letters of one installation.
type Queue struct {
	store   Store
	brokers []string
	access  []kgo.Opt
	by      string
	client  *kgo.Client
	now     func() time.Time
}

// New makes a queue and connects to nothing. by says who acts, for the letters' rows; access is to the
// log: TLS, SASL.
func New(states Store, brokers []string, by string, access ...kgo.Opt) (*Queue, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ClientID("keystone-dlq"), // idempotent, all acknowledgements: the defaults
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
	}, access...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	return &Queue{store: states, brokers: brokers, access: access, by: by, client: client,
		now: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }}, nil
}

// Close ends the connections to the log.
func (q *Queue) Close() { q.client.Close() }

// Find is the letter of an id. tenant chooses where several have that place; nil: none in particular.
func (q *Queue) Find(ctx context.Context, id ID, tenant *uuid.UUID) (*store.DeadLetterRow, error) {
	rows, err := q.store.DeadLettersAt(ctx, id.Topic, id.Partition, id.Offset)
	if err != nil {
		return nil, err
	}
	var found *store.DeadLetterRow
	for i := range rows {
		switch {
		case tenant != nil && rows[i].TenantID != *tenant:
		case found != nil:
			return nil, fmt.Errorf("%s: %w", id, ErrAmbiguous)
		default:
			found = &rows[i]
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	return found, nil
}

// Open are the letters that wait for somebody, of a tenant and a reason where those are given.
func (q *Queue) Open(ctx context.Context, tenant *uuid.UUID, reason string) iter.Seq2[store.DeadLetterRow, error] {
	return q.store.ListDeadLetters(ctx, store.DeadLetterFilter{Tenant: tenant, State: store.DeadLetterOpen, Reason: reason})
}

// Result is what became of one letter. Err says why nothing did.
type Result struct {
	Letter *store.DeadLetterRow // as it was before
	As     ID                   // of a replay: where it is now
	Err    error
}

// inPages runs work on a page of letters at a time: what a page holds in memory is bounded.
func inPages(letters iter.Seq2[store.DeadLetterRow, error], work func(page []store.DeadLetterRow) error) error {
	page := make([]store.DeadLetterRow, 0, pageSize)
	for l, err := range letters {
		if err != nil {
			return err
		}
		if page = append(page, l); len(page) == pageSize {
			if err := work(page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if len(page) == 0 {
		return nil
	}
	return work(page)
}

// pageSize bounds a page: at the largest, records of a MiB each are held at once.
const pageSize = 64
