package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	outboxLoad   = sql.Statement("outbox_load")
	outboxDelete = sql.Statement("outbox_delete")
)

// Unpublished are the batches of a partition that were committed, at most Config.OutboxPage of them,
// in the order of the log, from those after the source offset after on.
func (s *Store) Unpublished(ctx context.Context, topic string, partition int32, after int64) ([]outbox.Left, error) {
	rows, err := s.pool.Query(ctx, outboxLoad, topic, partition, after, int64(s.cfg.OutboxPage))
	if err != nil {
		return nil, fmt.Errorf("load the outbox of %s/%d: %w", topic, partition, err)
	}
	left, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (l outbox.Left, err error) {
		var payload []byte
		if err := r.Scan(&l.Offset, &payload); err != nil {
			return l, err
		}
		l.Records, err = outbox.Decode(payload)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("load the outbox of %s/%d: %w", topic, partition, err)
	}
	return left, nil
}

// Published deletes the batches of a partition up to the source offset upTo. Doing it again, or never,
// does no harm: what is left is produced again.
func (s *Store) Published(ctx context.Context, topic string, partition int32, upTo int64) error {
	if _, err := s.pool.Exec(ctx, outboxDelete, topic, partition, upTo); err != nil {
		return fmt.Errorf("delete from the outbox of %s/%d: %w", topic, partition, err)
	}
	return nil
}
