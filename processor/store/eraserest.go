package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	eraseLineage        = sql.Statement("erase_lineage")
	eraseOrders         = sql.Statement("erase_orders")
	eraseConflictPage   = sql.Statement("erase_conflict_page")
	eraseConflicts      = sql.Statement("erase_conflicts")
	eraseConflictOthers = sql.Statement("erase_conflict_others")
	eraseOutbox         = sql.Statement("erase_outbox")
	eraseOutboxSave     = sql.Statement("erase_outbox_save")
)

// EraseRest removes what hung on an erased person and vouches for nothing, page by page: lineage, orders,
// conflicts, and changes that wait to be produced. Doing it again finds nothing. Nobody can add to it any
// more: whoever writes for the person must have read them before the erasure, and fails.
func (s *Store) EraseRest(ctx context.Context, e *Erasure) error {
	for _, statement := range []string{eraseLineage, eraseOrders} {
		if err := s.erasePages(ctx, e, statement); err != nil {
			return fmt.Errorf("erase what profile %s had: %w", e.Profiles[0], err)
		}
	}
	n, err := s.eraseConflicts(ctx, e)
	if err != nil {
		return fmt.Errorf("erase conflicts of profile %s: %w", e.Profiles[0], err)
	}
	e.StateStore["identity_conflicts"] = max(e.StateStore["identity_conflicts"], n)
	if n, err = s.eraseOutbox(ctx, e); err != nil {
		return fmt.Errorf("erase profile %s in the outbox: %w", e.Profiles[0], err)
	}
	e.StateStore["outbox"] = max(e.StateStore["outbox"], n)
	return nil
}

// erasePages runs a statement that removes a page until it removes none.
func (s *Store) erasePages(ctx context.Context, e *Erasure, statement string) error {
	for {
		var removed int64
		_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
			batch := tx.Batch()
			batch.Queue(statement, e.TenantID, uuidColumn(e.Profiles), int64(s.cfg.ReadPage)).Exec(func(tag pgconn.CommandTag) error {
				removed = tag.RowsAffected()
				return nil
			})
			return tx.Send(ctx, batch)
		})
		if err != nil || removed == 0 {
			return err
		}
	}
}

// eraseConflicts goes through the tenant's conflicts: there is no index for who is in them, and they are
// few. Somebody else's that met the person stays, without saying whom.
func (s *Store) eraseConflicts(ctx context.Context, e *Erasure) (removed int64, err error) {
	nodes := make([]uuid.UUID, len(e.Nodes))
	for i, n := range e.Nodes {
		nodes[i] = n.Node
	}
	type found struct {
		id            uuid.UUID
		theirs, other bool
	}
	var last uuid.UUID
	for {
		page, err := read(ctx, s, "conflicts", func(r pgx.CollectableRow, f *found) error {
			return r.Scan(&f.id, &f.theirs, &f.other)
		}, eraseConflictPage, e.TenantID, last, int64(s.cfg.ReadPage), uuidColumn(e.Profiles), uuidColumn(nodes))
		if err != nil {
			return removed, err
		}
		var theirs, others uuids
		for _, f := range page {
			last = f.id
			switch {
			case f.theirs:
				theirs = append(theirs, uuidElement(f.id))
			case f.other:
				others = append(others, uuidElement(f.id))
			}
		}
		if len(theirs)+len(others) > 0 {
			if _, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
				batch := tx.Batch()
				batch.Queue(eraseConflicts, e.TenantID, theirs)
				batch.Queue(eraseConflictOthers, e.TenantID, others, uuid.Nil)
				return tx.Send(ctx, batch)
			}); err != nil {
				return removed, err
			}
		}
		removed += int64(len(theirs))
		if len(page) < s.cfg.ReadPage {
			return removed, nil
		}
	}
}

// eraseOutbox takes the person out of what was committed and not produced yet. A worker that has it in
// memory still produces it: the log keeps it until its retention, and the sink knows better.
func (s *Store) eraseOutbox(ctx context.Context, e *Erasure) (changed int64, err error) {
	type waiting struct {
		topic   string
		part    int32
		offset  int64
		payload []byte
	}
	at := waiting{part: -1}
	for {
		page, err := read(ctx, s, "the outbox", func(r pgx.CollectableRow, w *waiting) error {
			return r.Scan(&w.topic, &w.part, &w.offset, &w.payload)
		}, eraseOutbox, at.topic, at.part, at.offset, int64(s.cfg.OutboxPage))
		if err != nil {
			return changed, err
		}
		for _, w := range page {
			at = w
			payload, n, err := withoutPerson(w.payload, e)
			if err != nil {
				return changed, err
			}
			if n == 0 {
				continue
			}
			if _, err := s.pool.Exec(ctx, eraseOutboxSave, w.topic, w.part, w.offset, payload); err != nil {
				return changed, err
			}
			changed += int64(n)
		}
		if len(page) < s.cfg.OutboxPage {
			return changed, nil
		}
	}
}

// withoutPerson is an outbox payload without what concerns an erased person. Places in it stay as they
// are: the readers' marks go by them.
func withoutPerson(payload []byte, e *Erasure) (out []byte, changed int, err error) {
	records, err := outbox.Decode(payload)
	if err != nil {
		return nil, 0, err
	}
	theirs := func(profile uuid.UUID) bool { return slices.Contains(e.Profiles, profile) }
	for i := range records {
		if records[i].Topic != event.TopicChanges {
			continue
		}
		var c event.Change
		if err := json.Unmarshal(records[i].Value, &c); err != nil {
			return nil, 0, fmt.Errorf("read a change: %w", err)
		}
		if c.TenantID != e.TenantID || !c.Erase(theirs) {
			continue
		}
		changed++
		if records[i].Value, err = json.MarshalWithOption(&c, json.DisableHTMLEscape()); err != nil {
			return nil, 0, fmt.Errorf("write a change: %w", err)
		}
	}
	if changed == 0 {
		return nil, 0, nil
	}
	out, err = outbox.Encode(records)
	return out, changed, err
}
