package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	profileSave       = sql.Statement("profile_save")
	tombstoneRedirect = sql.Statement("tombstone_redirect")
	identifierInsert  = sql.Statement("identifier_insert")
	identifierAdd     = sql.Statement("identifier_add")
	identifierSave    = sql.Statement("identifier_save")
	spanSave          = sql.Statement("span_save")
	mergeSave         = sql.Statement("merge_save")
	conflictSave      = sql.Statement("conflict_save")
	lineageSave       = sql.Statement("lineage_save")
	orderSave         = sql.Statement("order_save")
	productSave       = sql.Statement("product_save")
	deadLetterSave    = sql.Statement("dead_letter_save")
	outboxSave        = sql.Statement("outbox_save")
)

// MaxWriteBytes bounds the text one batch writes: CockroachDB refuses statements of 16 MiB. A batch
// that exceeds it is taken in halves.
const MaxWriteBytes = 12 << 20

// ErrTooLarge is wrapped by the error of a batch that writes more than MaxWriteBytes.
var ErrTooLarge = errors.New("the batch writes too much")

// saver queues the statements of one batch's result.
type saver struct {
	batch *pgx.Batch
	rows  *rows // as they were read
	bytes int   // of text queued
}

// save queues everything the fold changed, the outbox, and the offset last.
func save(batch *pgx.Batch, b *Batch, l *rows, r *apply.Result, records []outbox.Record, now time.Time) error {
	w := saver{batch: batch, rows: l}
	w.profiles(r.Profiles)
	w.redirects(r.Redirects)
	w.identifiers(r.Identifiers)
	w.owners(spanSave, len(r.Spans), func(i int) (uuid.UUID, event.IdentifierState) {
		return r.Spans[i].Tenant, r.Spans[i].State()
	})
	w.conflicts(r.Conflicts)
	w.products(r.Products)
	err := errors.Join(w.merges(r.Merges), w.lineage(r.Lineage), w.orders(r.Orders))
	if err != nil {
		return err
	}
	w.deadLetters(b, now)
	if len(records) > 0 {
		payload, err := outbox.Encode(records)
		if err != nil {
			return err
		}
		w.batch.Queue(outboxSave, b.Claim.Topic, b.Claim.Partition, b.NextOffset, payload)
	}
	if w.bytes > MaxWriteBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, w.bytes, MaxWriteBytes)
	}
	batch.Queue(offsetMove, b.Claim.Topic, b.Claim.Partition, b.Offset, b.Claim.Epoch, b.NextOffset, r.LastCreatedAt, now).
		Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != 1 {
				return ErrFenced
			}
			return nil
		})
	return nil
}

// text counts what it passes on.
func (w *saver) text(s string) textElement {
	w.bytes += len(s)
	return textElement(s)
}

func (w *saver) json(v any) (textElement, error) {
	text, err := json.MarshalWithOption(v, json.DisableHTMLEscape())
	if err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return w.text(string(text)), nil
}

func (w *saver) deadLetters(b *Batch, now time.Time) {
	n := len(b.Dead)
	if n == 0 {
		return
	}
	tenant, offset, job, reason, detail, attempts := make(uuids, n), make(ints, n), make(texts, n), make(texts, n), make(texts, n), make(ints, n)
	for i := range b.Dead {
		d := &b.Dead[i]
		tenant[i], offset[i] = uuidElement(d.Tenant), intElement(d.Offset)
		job[i], reason[i], detail[i] = w.text(d.JobID), w.text(d.Reason), w.text(d.Detail)
		attempts[i] = intElement(max(d.Attempts, 1))
	}
	w.batch.Queue(deadLetterSave, tenant, b.Claim.Topic, b.Claim.Partition, offset, job, reason, detail, attempts, now)
}
