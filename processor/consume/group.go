package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/processor/store"
)

// assigned is called with the partitions that are new to this process, before they are fetched. It
// claims them and says where to begin: at the offset row, wherever the group's own offset is. While it
// waits for a store that is down, the other partitions go on; ctx ends when the group moves on.
func (c *Consumer) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-c.started
	for topic, partitions := range offsets {
		for partition, told := range partitions {
			p := place{topic, partition}
			// One that was claimed in a session that broke off is claimed again.
			c.stopWorkers(ctx, c.take(map[string][]int32{topic: {partition}}))
			claim, next, err := c.claimPartition(ctx, p)
			if group := told.EpochOffset().Offset; err == nil && group > next {
				err = fmt.Errorf("%w: the offset row is at %d, and the group was told %d", ErrStoreBehind, next, group)
			}
			if err != nil {
				if ctx.Err() == nil {
					c.fail(fmt.Errorf("take %s/%d over: %w", topic, partition, err))
				}
				return nil, err
			}
			partitions[partition] = beginAt(next)
			w := c.newWorker(p, claim, next)
			c.mu.Lock()
			c.workers[p] = w
			c.mu.Unlock()
			go w.run()
			c.log.Info("took a partition over", "topic", topic, "partition", partition, "next_offset", next, "epoch", claim.Epoch)
		}
	}
	return offsets, nil
}

// beginAt is where to fetch from. Without an epoch: the row knows none, and the group's may be stale.
func beginAt(next int64) kgo.Offset {
	if next == 0 {
		return kgo.NewOffset().AtStart() // where retention has already begun, too
	}
	return kgo.NewOffset().At(next).WithEpoch(-1)
}

// errLogBehind says that the log ends before the offset row: it is not the log it was. Going on would
// take the new records for processed ones.
var errLogBehind = errors.New("the log ends before what was processed; if it was restored or made anew: keystone recover")

// ErrStoreBehind says that the state store is older than what was processed: the group is told of an
// offset after its commit only, so the store was restored to an earlier moment, or has lost commits. The
// processor could do its work again; but the column store has the changes that are lost, and takes those
// that come now for repetitions of them.
var ErrStoreBehind = errors.New("the state store is older than what was processed; if it was restored: keystone recover")

// claimPartition insists, for as long as ctx lasts.
func (c *Consumer) claimPartition(ctx context.Context, p place) (store.Claim, int64, error) {
	wait, begin := c.cfg.RetryMin, time.Now()
	for {
		claim, next, err := c.store.Claim(ctx, p.topic, p.partition, c.cfg.Instance)
		if err == nil {
			if err = c.checkLog(ctx, p, next); err == nil {
				return claim, next, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return store.Claim{}, 0, ctx.Err()
		case errors.Is(err, errLogBehind):
			if time.Since(begin) >= c.cfg.LogBehind {
				return store.Claim{}, 0, err
			}
		case store.Classify(err) == store.Fatal:
			return store.Claim{}, 0, err
		}
		c.metrics.retries.WithLabelValues(retryStore).Inc()
		c.rarely.warn("cannot take a partition over yet", "topic", p.topic, "partition", p.partition, "error", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		wait = min(2*wait, c.cfg.RetryMax)
	}
}

// checkLog compares the offset row with the end of the log.
func (c *Consumer) checkLog(ctx context.Context, p place, next int64) error {
	if next == 0 {
		return nil
	}
	ends, err := kadm.NewClient(c.client).ListEndOffsets(ctx, p.topic)
	if err != nil {
		return fmt.Errorf("look for the end of the log: %w", err)
	}
	end, ok := ends.Lookup(p.topic, p.partition)
	if !ok || end.Err != nil {
		return fmt.Errorf("look for the end of the log: %w", errors.Join(end.Err, ctx.Err()))
	}
	if end.Offset < next {
		return fmt.Errorf("%w: it ends at %d, the offset row is at %d", errLogBehind, end.Offset, next)
	}
	return nil
}

// revoked is called while this process still owns the partitions: their workers finish what they have
// begun.
func (c *Consumer) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	if len(partitions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.RevokeTimeout)
	defer cancel()
	c.stopWorkers(ctx, c.take(partitions))
}

// lost is called when somebody else may own the partitions already: their workers drop everything.
func (c *Consumer) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	workers := c.take(partitions)
	for _, w := range workers {
		w.cancel()
	}
	for _, w := range workers {
		<-w.done
	}
}
