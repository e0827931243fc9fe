package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	deadLetterList   = sql.Statement("dead_letter_list")
	deadLetterAt     = sql.Statement("dead_letter_at")
	deadLetterChange = sql.Statement("dead_letter_change")
)

// The states of a dead letter. Replaying is between the two halves of a replay, the log and the state
// store: one that stays so was left by a command that died, and may be in the log again or not.
const (
	DeadLetterOpen      = "open"
	DeadLetterReplaying = "replaying"
	DeadLetterReplayed  = "replayed"
	DeadLetterDropped   = "dropped"
)

// DeadLetterRow is one record that could not be processed; keystone.dlq has it. A record that was
// replayed and failed again is another row, at its new place.
type DeadLetterRow struct {
	Topic          string     `json:"topic"`
	Partition      int32      `json:"partition"`
	Offset         int64      `json:"offset"`
	JobID          string     `json:"job_id,omitempty"`
	Reason         string     `json:"reason"`
	Detail         string     `json:"detail"`
	CreatedAt      time.Time  `json:"created_at"`
	Attempts       int        `json:"attempts"` // failures, those before its replays included
	State          string     `json:"state"`
	ChangedAt      *time.Time `json:"changed_at,omitempty"` // of the state; absent: open since ever
	ChangedBy      string     `json:"changed_by,omitempty"`
	Why            string     `json:"why,omitempty"`
	ReplayedOffset *int64     `json:"replayed_offset,omitempty"` // where the replay is, in the same partition
	TenantID       uuid.UUID  `json:"tenant_id"`                 // uuid.Nil: it names none
}

// DeadLetterKey names a row.
type DeadLetterKey struct {
	Tenant    uuid.UUID
	Topic     string
	Partition int32
	Offset    int64
}

// Key names d.
func (d *DeadLetterRow) Key() DeadLetterKey {
	return DeadLetterKey{d.TenantID, d.Topic, d.Partition, d.Offset}
}

// DeadLetterFilter chooses rows; what is empty does not restrict.
type DeadLetterFilter struct {
	Tenant *uuid.UUID // uuid.Nil: of the records that name none
	State  string
	Reason string
}

// DeadLetters are a tenant's records that could not be processed, by their place in the log. Those
// that name no tenant are uuid.Nil's.
func (s *Store) DeadLetters(ctx context.Context, tenant uuid.UUID) iter.Seq2[DeadLetterRow, error] {
	return s.ListDeadLetters(ctx, DeadLetterFilter{Tenant: &tenant})
}

// ListDeadLetters are the records the filter chooses, by tenant and place in the log. Rows may change
// while they are listed.
func (s *Store) ListDeadLetters(ctx context.Context, f DeadLetterFilter) iter.Seq2[DeadLetterRow, error] {
	first, end := uuid.Nil, uuid.Max
	if f.Tenant != nil {
		first, end = *f.Tenant, *f.Tenant
	}
	last := DeadLetterRow{TenantID: first, Partition: -1, Offset: -1}
	return pages(s.cfg.ReadPage, func() ([]DeadLetterRow, error) {
		rows, err := read(ctx, s, "dead letters", scanDeadLetter, deadLetterList, first, end,
			last.TenantID, last.Topic, last.Partition, last.Offset, f.State, f.Reason, int64(s.cfg.ReadPage))
		if err == nil && len(rows) > 0 {
			last = rows[len(rows)-1]
		}
		return rows, err
	})
}

// DeadLettersAt are those of a place in the log: one, but where the log was replaced and offsets came
// again.
func (s *Store) DeadLettersAt(ctx context.Context, topic string, partition int32, offset int64) ([]DeadLetterRow, error) {
	return read(ctx, s, "dead letters", scanDeadLetter, deadLetterAt, topic, partition, offset)
}

func scanDeadLetter(r pgx.CollectableRow, d *DeadLetterRow) error {
	var changed time.Time
	var replayed int64
	err := r.Scan(&d.TenantID, &d.Topic, &d.Partition, &d.Offset, &d.JobID, &d.Reason, &d.Detail, &d.CreatedAt, &d.Attempts,
		&d.State, &changed, &d.ChangedBy, &d.Why, &replayed)
	d.ChangedAt = known(changed)
	if replayed >= 0 {
		d.ReplayedOffset = &replayed
	}
	return err
}

// DeadLetterChange is a row as it is to be from its state on, if it is in the state From still.
type DeadLetterChange struct {
	DeadLetterRow
	From string
}

// ChangeDeadLetters changes rows in one transaction and answers those it changed. The others are in
// another state by now, or not there. No two changes may concern the same row.
func (s *Store) ChangeDeadLetters(ctx context.Context, changes []DeadLetterChange) (map[DeadLetterKey]struct{}, error) {
	args := changeColumns(changes)
	var done map[DeadLetterKey]struct{}
	_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		done = make(map[DeadLetterKey]struct{}, len(changes))
		b := tx.Batch()
		b.Queue(deadLetterChange, args...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var k DeadLetterKey
				if err := rows.Scan(&k.Tenant, &k.Topic, &k.Partition, &k.Offset); err != nil {
					return err
				}
				done[k] = struct{}{}
			}
			return nil
		})
		return tx.Send(ctx, b)
	})
	if err != nil {
		return nil, fmt.Errorf("change the state of %d dead letters: %w", len(changes), err)
	}
	return done, nil
}

func changeColumns(changes []DeadLetterChange) []any {
	n := len(changes)
	tenant, topic, part, offset := make(uuids, n), make(texts, n), make(ints, n), make(ints, n)
	from, to, at, by, why, replayed := make(texts, n), make(texts, n), make(times, n), make(texts, n), make(texts, n), make(ints, n)
	for i := range changes {
		c := &changes[i]
		tenant[i], topic[i], part[i], offset[i] = uuidElement(c.TenantID), textElement(c.Topic), intElement(c.Partition), intElement(c.Offset)
		from[i], to[i], by[i], why[i] = textElement(c.From), textElement(c.State), textElement(Text(c.ChangedBy)), textElement(Text(c.Why))
		if c.ChangedAt != nil {
			at[i] = timeElement(*c.ChangedAt)
		}
		replayed[i] = -1
		if c.ReplayedOffset != nil {
			replayed[i] = intElement(*c.ReplayedOffset)
		}
	}
	return []any{tenant, topic, part, offset, from, to, at, by, why, replayed}
}

// Processed is how far a partition of the log was processed: the first offset that was not.
func (s *Store) Processed(ctx context.Context, topic string, partition int32) (next int64, err error) {
	next, _, err = s.position(ctx, topic, partition)
	if err != nil {
		return 0, fmt.Errorf("read the position of %s/%d: %w", topic, partition, err)
	}
	return next, nil
}
