package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	offsetClaim = sql.Statement("offset_claim")
	offsetFence = sql.Statement("offset_fence")
	offsetMove  = sql.Statement("offset_move")
	offsetRead  = sql.Statement("offset_read")
)

// Claim is the ownership of one partition of the log. It lasts until somebody else claims it.
type Claim struct {
	Topic     string
	Partition int32
	Epoch     int64
}

// Claim takes a partition over and tells where it stands: the offset of the first record that is not
// processed. From now on every batch of a former owner is ErrFenced. owner is for people who look.
func (s *Store) Claim(ctx context.Context, topic string, partition int32, owner string) (c Claim, next int64, err error) {
	c = Claim{Topic: topic, Partition: partition}
	// A claim that was committed and not acknowledged is simply made again: epochs may have holes.
	_, err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		b := tx.Batch()
		b.Queue(offsetClaim, topic, partition, owner, time.Time{}).QueryRow(func(row pgx.Row) error {
			return row.Scan(&next, &c.Epoch)
		})
		return tx.Send(ctx, b)
	})
	if err != nil {
		return Claim{}, 0, fmt.Errorf("claim %s/%d: %w", topic, partition, err)
	}
	return c, next, nil
}

// position reads a partition's row. A single statement sees what is committed.
func (s *Store) position(ctx context.Context, topic string, partition int32) (next, epoch int64, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, offsetRead, topic, partition).Scan(&next, &epoch)
	return next, epoch, err
}

// fence is the first statement of a batch. It locks the row, so that a zombie and the new owner do
// not both do the work; what makes it right is the compare-and-set at the end.
func fence(b *Batch, batch *pgx.Batch, last *time.Time) {
	c := b.Claim
	batch.Queue(offsetFence, c.Topic, c.Partition).QueryRow(func(row pgx.Row) error {
		var next, epoch int64
		if err := row.Scan(&next, &epoch, last); err != nil {
			return err
		}
		switch {
		case epoch != c.Epoch:
			return ErrFenced
		case next == b.NextOffset && next != b.Offset:
			return errLanded
		case next != b.Offset:
			return ErrFenced
		}
		return nil
	})
}
