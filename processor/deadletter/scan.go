package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/processor/store"
)

const (
	// skew is how much earlier than a letter's row its record in the queue may look.
	skew = time.Minute
	// fetchTimeout bounds one fetch that brings nothing although something must be there.
	fetchTimeout = 30 * time.Second
)

// scan reads partitions from the offsets to their present ends, until visit has enough.
func (q *Queue) scan(ctx context.Context, from kadm.ListedOffsets, visit func(*kgo.Record) (more bool)) error {
	if err := from.Error(); err != nil {
		return fmt.Errorf("find a place in the log: %w", err)
	}
	topics := make([]string, 0, len(from))
	for topic := range from {
		topics = append(topics, topic)
	}
	ends, err := kadm.NewClient(q.client).ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("find the log's end: %w", err)
	}
	begin, left := map[string]map[int32]kgo.Offset{}, map[ID]struct{}{}
	from.Each(func(o kadm.ListedOffset) {
		end, _ := ends.Lookup(o.Topic, o.Partition)
		if o.Offset < 0 || o.Offset >= end.Offset {
			return
		}
		if begin[o.Topic] == nil {
			begin[o.Topic] = map[int32]kgo.Offset{}
		}
		begin[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
		left[ID{Topic: o.Topic, Partition: o.Partition}] = struct{}{}
	})
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(q.brokers...), kgo.ClientID("keystone-dlq"), kgo.ConsumePartitions(begin)}, q.access...)...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	for len(left) > 0 {
		records, err := fetch(ctx, client)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !visit(r) {
				return nil
			}
			if end, _ := ends.Lookup(r.Topic, r.Partition); r.Offset >= end.Offset-1 {
				delete(left, ID{Topic: r.Topic, Partition: r.Partition})
			}
		}
	}
	return nil
}

// fetch waits for records.
func fetch(ctx context.Context, client *kgo.Client) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return fetches.Records(), nil
}

// original reads the record of a letter's own place.
func (q *Queue) original(ctx context.Context, l *store.DeadLetterRow) (*kgo.Record, error) {
	admin := kadm.NewClient(q.client)
	starts, err := admin.ListStartOffsets(ctx, l.Topic)
	if err == nil {
		err = starts.Error()
	}
	start, ok := starts.Lookup(l.Topic, l.Partition)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), err == nil && !ok:
		return nil, fmt.Errorf("the log has no %s/%d: %w", l.Topic, l.Partition, ErrGone)
	case err != nil:
		return nil, fmt.Errorf("find the beginning of %s: %w", l.Topic, err)
	case start.Offset > l.Offset:
		return nil, fmt.Errorf("retention has taken it from %s/%d, which begins at offset %d: %w", l.Topic, l.Partition, start.Offset, ErrGone)
	}
	var got *kgo.Record
	start.Offset = l.Offset
	err = q.scan(ctx, kadm.ListedOffsets{l.Topic: {l.Partition: start}}, func(r *kgo.Record) bool {
		got = r
		return false
	})
	if err != nil {
		return nil, err
	}
	if got == nil || got.Offset != l.Offset || !is(got.Headers, l) {
		return nil, fmt.Errorf("%s/%d has another record or none in its place: the log was replaced: %w", l.Topic, l.Partition, ErrGone)
	}
	return got, nil
}
