package control

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	offsetList    = sql.Statement("offset_list")
	outboxPending = sql.Statement("outbox_pending")
)

// Offset is how far the processor has come on one partition of the log.
type Offset struct {
	Topic     string
	Partition int32
	Next      int64  // the first offset not processed yet
	Owner     string // who claimed the partition last
	UpdatedAt time.Time
	// Unpublished is how many processed batches have not been produced to keystone.changes yet.
	Unpublished int64
}

// Offsets are those of all partitions the processor has ever had, by topic and partition.
func (p *Plane) Offsets(ctx context.Context) ([]Offset, error) {
	offsets, err := p.offsets(ctx)
	if err != nil {
		return nil, err
	}
	pending, err := query(ctx, p, func(r pgx.CollectableRow) (o Offset, err error) {
		err = r.Scan(&o.Topic, &o.Partition, &o.Unpublished, &o.Next)
		return o, err
	}, outboxPending)
	if err != nil {
		return nil, fmt.Errorf("list unpublished batches: %w", err)
	}
	for _, left := range pending {
		for i := range offsets {
			if offsets[i].Topic == left.Topic && offsets[i].Partition == left.Partition {
				offsets[i].Unpublished = left.Unpublished
			}
		}
	}
	return offsets, nil
}

func (p *Plane) offsets(ctx context.Context) ([]Offset, error) {
	offsets, err := query(ctx, p, func(r pgx.CollectableRow) (o Offset, err error) {
		err = r.Scan(&o.Topic, &o.Partition, &o.Next, &o.Owner, &o.UpdatedAt)
		return o, err
	}, offsetList)
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	return offsets, nil
}
