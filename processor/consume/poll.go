package consume

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// poll hands records to the workers until ctx ends. It never waits for one: rebalances wait for it.
func (c *Consumer) poll(ctx context.Context) {
	for {
		fetches := c.client.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			c.client.AllowRebalance()
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			c.metrics.fetchErrors.Inc()
			c.rarely.warn("cannot fetch", "topic", topic, "partition", partition, "error", err)
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if w := c.worker(place{p.Topic, p.Partition}); w != nil {
				w.put(p.Records, p.HighWatermark)
			}
		})
		c.client.AllowRebalance()
	}
}

func (c *Consumer) worker(p place) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers[p]
}

// commitTimeout bounds one commit of group offsets, which nothing depends on.
const commitTimeout = 5 * time.Second

func (c *Consumer) commitNowAndThen(ctx context.Context) {
	t := time.NewTicker(c.cfg.CommitEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		workers := make([]*worker, 0, len(c.workers))
		for _, w := range c.workers {
			workers = append(workers, w)
		}
		c.mu.Unlock()
		c.commit(ctx, workers)
	}
}

// commit tells the group where workers have got to. Failing does no harm.
func (c *Consumer) commit(ctx context.Context, workers []*worker) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	var moved []*worker
	for _, w := range workers {
		next := w.next.Load()
		if next == w.reported.Load() {
			continue
		}
		if offsets[w.topic] == nil {
			offsets[w.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[w.topic][w.partition] = kgo.EpochOffset{Epoch: -1, Offset: next}
		moved = append(moved, w)
	}
	if len(moved) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	taken := map[place]bool{}
	c.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		for _, t := range r.Topics { // each partition has an answer of its own
			for _, p := range t.Partitions {
				taken[place{t.Topic, p.Partition}] = p.ErrorCode == 0
			}
		}
	})
	for _, w := range moved {
		if taken[w.place] { // else it is tried again
			w.reported.Store(offsets[w.topic][w.partition].Offset)
		}
	}
}
