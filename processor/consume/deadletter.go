package consume

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
)

// The reasons for giving a record up: a closed set.
const (
	ReasonBadRecord     = "bad_record"     // its headers say nothing usable
	ReasonInvalidEvent  = "invalid_event"  // its value is no event
	ReasonNoIdentifier  = "no_identifier"  // it names nobody
	ReasonUnknownTenant = "unknown_tenant" //
	ReasonNotApplied    = "not_applied"    // the fold or the state store refuses it, alone and every time
)

// Headers that a record of keystone.dlq has beside its original ones. HeaderAttempts has a line for
// every time it was given up: to replay a record, produce it to HeaderTopic with its key, its value,
// its original headers and HeaderAttempts.
const (
	HeaderReason       = "dlq_reason"
	HeaderError        = "dlq_error" // never quotes the event
	HeaderTopic        = "dlq_topic"
	HeaderPartition    = "dlq_partition" // decimal
	HeaderOffset       = "dlq_offset"    // decimal
	HeaderAttempts     = "dlq_attempts"
	HeaderValueOmitted = "dlq_value_omitted" // bytes: the record was too large; the log has the value at HeaderOffset
	HeaderRestOmitted  = "dlq_rest_omitted"  // bytes: key and original headers were too large by themselves; likewise

	HeaderPrefix = "dlq_" // of all of them, and of nothing an edge writes
)

// MaxAttemptsBytes bounds HeaderAttempts; the oldest lines go.
const MaxAttemptsBytes = 4 << 10

// lengthsBytes is the most that the lengths of a header take beside it.
const lengthsBytes = 10

// deadLetter is a record given up. attempts are earlier failures, before err.
func deadLetter(r *kgo.Record, meta *event.Meta, reason string, err error) *store.DeadLetter {
	detail := store.Text(describe(err))
	record, attempts := deadRecord(r, reason, detail)
	return &store.DeadLetter{
		Tenant:   meta.Tenant,
		Offset:   r.Offset,
		JobID:    store.Text(meta.JobID),
		Reason:   reason,
		Detail:   detail,
		Attempts: attempts,
		Record:   record,
	}
}

// Attempt is a line of HeaderAttempts.
func Attempt(at time.Time, reason, detail string) string {
	return at.UTC().Format(time.RFC3339) + " " + reason + ": " + detail + "\n"
}

// deadRecord answers what goes to the queue, and how many attempts it tells of. It fits the log whatever
// r is: a compressed record of another producer may be larger than the log takes from us, and one that
// is refused would be tried for ever.
func deadRecord(r *kgo.Record, reason, detail string) (outbox.Record, int) {
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+8)
	attempts := Attempt(time.Now(), reason, detail)
	rest := len(r.Key)
	for _, h := range r.Headers {
		if h.Key == HeaderAttempts {
			attempts = string(h.Value) + attempts
		} else if !strings.HasPrefix(h.Key, HeaderPrefix) {
			headers = append(headers, h)
			rest += len(h.Key) + len(h.Value) + lengthsBytes
		}
	}
	if cut := len(attempts) - MaxAttemptsBytes; cut > 0 {
		attempts = attempts[cut:]
	}
	add := func(key, value string) {
		headers = append(headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	key, value := r.Key, r.Value
	tooLarge, restTooLarge := rest+len(value) > outbox.MaxRecordBytes, rest > outbox.MaxRecordBytes
	if tooLarge {
		value = nil
	}
	if restTooLarge {
		key, headers = nil, nil
	}
	add(HeaderReason, reason)
	add(HeaderError, detail)
	add(HeaderTopic, r.Topic)
	add(HeaderPartition, strconv.Itoa(int(r.Partition)))
	add(HeaderOffset, strconv.FormatInt(r.Offset, 10))
	add(HeaderAttempts, attempts)
	if tooLarge {
		add(HeaderValueOmitted, strconv.Itoa(len(r.Value)))
	}
	if restTooLarge {
		add(HeaderRestOmitted, strconv.Itoa(rest))
	}
	return outbox.Record{Topic: event.TopicDLQ, Key: key, Value: value, Headers: headers}, strings.Count(attempts, "\n")
}

// describe says what went wrong without quoting anything: a server's message may hold the value it
// refuses.
func describe(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return "the state store refuses it: SQLSTATE " + pg.Code
	}
	return err.Error()
}
