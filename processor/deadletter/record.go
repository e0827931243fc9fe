package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/store"
)

// Record is what a letter's record was, with what it went through.
type Record struct {
	Key, Value []byte
	Headers    []kgo.RecordHeader // the original ones
	Attempts   string             // a line for each time it was given up, oldest first
	Sources    []ID               // the records it was read from
}

// found is a letter's record, or why there is none.
type found struct {
	record *Record
	err    error
}

// Record reads a letter's record, from keystone.dlq and, where that lacks it, from its original
// place. ErrGone says that retention has taken it.
func (q *Queue) Record(ctx context.Context, l *store.DeadLetterRow) (*Record, error) {
	all, err := q.records(ctx, []store.DeadLetterRow{*l})
	if err != nil {
		return nil, err
	}
	return all[0].record, all[0].err
}

// records reads a page of letters' records, in their order. The queue is read once for all of them.
func (q *Queue) records(ctx context.Context, page []store.DeadLetterRow) ([]found, error) {
	dead, err := q.scanQueue(ctx, page)
	if err != nil {
		return nil, err
	}
	all := make([]found, len(page))
	for i := range page {
		l := &page[i]
		r, queued := dead[IDOf(l)]
		switch {
		case !queued:
			all[i].record, all[i].err = q.fromOriginal(ctx, l)
		case r.omitted >= 0:
			all[i].record, all[i].err = q.fill(ctx, l, r)
		default:
			all[i].record = &r.Record
		}
		if all[i].err != nil && !errors.Is(all[i].err, ErrGone) {
			return nil, all[i].err
		}
	}
	return all, nil
}

// queued is a record of keystone.dlq, taken apart.
type queued struct {
	Record
	id      ID
	omitted int // bytes that are missing; -1: none
}

// readQueued takes a record of keystone.dlq apart. One that only a stranger can have written is not ok,
// and neither is one that the queue had no room for.
func readQueued(r *kgo.Record) (q queued, ok bool) {
	q = queued{Record: Record{Key: r.Key, Value: r.Value, Sources: []ID{{r.Topic, r.Partition, r.Offset}}}, omitted: -1}
	for _, h := range r.Headers {
		var err error
		value := string(h.Value)
		switch h.Key {
		case consume.HeaderTopic:
			q.id.Topic = value
		case consume.HeaderPartition:
			var n int64
			n, err = strconv.ParseInt(value, 10, 32)
			q.id.Partition = int32(n)
		case consume.HeaderOffset:
			q.id.Offset, err = strconv.ParseInt(value, 10, 64)
			ok = true
		case consume.HeaderAttempts:
			q.Attempts = value
		case consume.HeaderValueOmitted:
			q.omitted, err = strconv.Atoi(value)
		case consume.HeaderRestOmitted:
			return q, false // only the log has it
		default:
			if !strings.HasPrefix(h.Key, consume.HeaderPrefix) {
				q.Headers = append(q.Headers, h)
			}
		}
		if err != nil {
			return q, false
		}
	}
	return q, ok
}

// is tells whether a record of the queue, or of the log, can be a letter's: after the log was replaced
// another tenant's record may have that place. The row's tenant was read by the same function.
func is(headers []kgo.RecordHeader, l *store.DeadLetterRow) bool {
	meta, _ := event.ReadMeta(headers) // a bad record has what could be read
	return meta.Tenant == l.TenantID
}

// scanQueue finds letters' records in keystone.dlq. A record is produced after its row is written, so
// the queue is read from the oldest row on; where clocks differ by more than skew, from its beginning.
func (q *Queue) scanQueue(ctx context.Context, page []store.DeadLetterRow) (map[ID]queued, error) {
	wanted, oldest := make(map[ID]*store.DeadLetterRow, len(page)), page[0].CreatedAt
	for i := range page {
		wanted[IDOf(&page[i])] = &page[i]
		if page[i].CreatedAt.Before(oldest) {
			oldest = page[i].CreatedAt
		}
	}
	got := make(map[ID]queued, len(page))
	visit := func(r *kgo.Record) (more bool) {
		d, ok := readQueued(r)
		if l := wanted[d.id]; ok && l != nil && is(d.Headers, l) {
			got[d.id] = d // the last one: a batch may be produced twice, and a log replaced
		}
		return len(got) < len(wanted)
	}
	admin := kadm.NewClient(q.client)
	after, err := admin.ListOffsetsAfterMilli(ctx, oldest.Add(-skew).UnixMilli(), event.TopicDLQ)
	if err == nil {
		err = q.scan(ctx, after, visit)
	}
	if err != nil || len(got) == len(wanted) {
		return got, err
	}
	start, err := admin.ListStartOffsets(ctx, event.TopicDLQ)
	if err != nil {
		return nil, fmt.Errorf("find the beginning of %s: %w", event.TopicDLQ, err)
	}
	return got, q.scan(ctx, start, visit)
}

// fill takes a value that keystone.dlq had no room for from its original place.
func (q *Queue) fill(ctx context.Context, l *store.DeadLetterRow, d queued) (*Record, error) {
	r, err := q.original(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("its value (%d bytes) was too large for %s: %w", d.omitted, event.TopicDLQ, err)
	}
	if len(r.Value) != d.omitted || !bytes.Equal(r.Key, d.Key) {
		return nil, fmt.Errorf("its value (%d bytes) was too large for %s, and another record has its place: %w", d.omitted, event.TopicDLQ, ErrGone)
	}
	d.Value = r.Value
	d.Sources = append(d.Sources, IDOf(l))
	return &d.Record, nil
}

// fromOriginal makes up for a record that retention has taken from keystone.dlq: the log itself may
// be kept longer. The row knows the last attempt.
func (q *Queue) fromOriginal(ctx context.Context, l *store.DeadLetterRow) (*Record, error) {
	r, err := q.original(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("it is not in %s: %w", event.TopicDLQ, err)
	}
	record := &Record{Key: r.Key, Value: r.Value, Sources: []ID{IDOf(l)}}
	for _, h := range r.Headers {
		if h.Key == consume.HeaderAttempts {
			record.Attempts = string(h.Value)
		} else if !strings.HasPrefix(h.Key, consume.HeaderPrefix) {
			record.Headers = append(record.Headers, h)
		}
	}
	record.Attempts += consume.Attempt(l.CreatedAt, l.Reason, l.Detail)
	return record, nil
}

// replay is the record to be produced: what it was, with HeaderAttempts. One that has no message id is
// told by its place in the log, which a replay changes: it gets its first place's as a header, so that
// it counts once however often it is replayed.
func (r *Record) replay(l *store.DeadLetterRow) *kgo.Record {
	headers := slices.Clone(r.Headers)
	if event.Member(r.Value, "message_id") == nil && !slices.ContainsFunc(headers, func(h kgo.RecordHeader) bool { return h.Key == event.HeaderMessageID }) {
		headers = append(headers, kgo.RecordHeader{Key: event.HeaderMessageID, Value: []byte("log:" + IDOf(l).String())})
	}
	headers = append(headers, kgo.RecordHeader{Key: consume.HeaderAttempts, Value: []byte(r.Attempts)})
	return &kgo.Record{Topic: l.Topic, Partition: l.Partition, Key: r.Key, Value: r.Value, Headers: headers}
}

// History is the attempts, line by line.
func (r *Record) History() []string {
	text := strings.TrimSuffix(r.Attempts, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
