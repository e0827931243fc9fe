package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// revokeTimeout bounds the last inserts of partitions that go to another process.
const revokeTimeout = 10 * time.Second

// connect makes the client. Partitions come and go through its callbacks, never between a poll and
// the end of the hand-over to the lanes (BlockRebalanceOnPoll).
func (s *Sink) connect() (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.cfg.Brokers...),
		kgo.ClientID(s.cfg.ClientID),
		kgo.ConsumerGroup(s.cfg.Group),
		kgo.ConsumeTopics(event.TopicEvents, event.TopicBackfill, event.TopicChanges),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // of what the log no longer has
		kgo.SessionTimeout(s.cfg.SessionTimeout),
		kgo.HeartbeatInterval(s.cfg.SessionTimeout / 5),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.FetchMaxBytes(int32(s.cfg.FetchBytes)),
		kgo.FetchMaxPartitionBytes(int32(s.cfg.FetchBytes)),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.WithPools(s.pool),
		kgo.WithHooks(s.pool),
	}
	if s.cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.cfg.InstanceID))
	}
	client, err := kgo.NewClient(append(opts, s.cfg.Access...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	return client, nil
}

// read hands what the log has to the lanes, as long as there is room for more.
func (s *Sink) read(ctx context.Context) {
	for {
		if s.budget.wait(ctx) != nil {
			return
		}
		fetches := s.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, context.Canceled) {
				s.log.WarnContext(ctx, "cannot fetch", "topic", topic, "partition", partition, "error", err)
			}
		})
		s.mu.Lock()
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if l := s.lanes[tp{p.Topic, p.Partition}]; l != nil {
				l.push(p.Records, p.HighWatermark)
			}
		})
		s.mu.Unlock()
		s.client.AllowRebalance()
	}
}

// assigned is told of new partitions. It opens a lane for each, and answers where to read on:
// ClickHouse knows, the group does not. It ends early when the group takes the partitions back.
func (s *Sink) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-s.started
	begin := s.now()
	ends, err := s.logEnds(ctx)
	if err != nil {
		return nil, err
	}
	// Before anything is inserted for them: who looked for members of the group a moment ago saw none of us.
	if err := s.insert.retry(ctx, tableErasures, s.learnErasures); err != nil {
		return nil, err
	}
	var opened []*lane
	for topic, partitions := range offsets {
		for partition := range partitions {
			at := tp{topic, partition}
			l, err := s.open(ctx, at, ends)
			if err != nil {
				return nil, fmt.Errorf("open %s: %w", at, err)
			}
			opened = append(opened, l)
			if l.next > 0 {
				partitions[partition] = kgo.NewOffset().At(l.next)
			} else {
				partitions[partition] = kgo.NewOffset().AtStart()
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partitions = map[tp]bool{}
	for at := range ends {
		if at.topic != event.TopicChanges {
			s.partitions[at] = true
		}
	}
	for _, l := range opened {
		s.lanes[l.tp] = l
		s.others.take(l.tp)
		delete(s.saved, l.tp) // the tables may be ahead of the saved one: it is saved anew
		delete(s.told, l.tp)  // somebody else may have told another since
		l.start(s.lanesCtx)
	}
	s.log.InfoContext(ctx, "took partitions", "partitions", len(opened), "took_ms", s.now().Sub(begin).Milliseconds())
	return offsets, nil
}

// logEnds are the offsets after the last records of all partitions.
func (s *Sink) logEnds(ctx context.Context) (map[tp]int64, error) {
	listed, err := kadm.NewClient(s.client).ListEndOffsets(ctx, event.TopicEvents, event.TopicBackfill, event.TopicChanges)
	if err != nil {
		return nil, fmt.Errorf("list ends of the log: %w", err)
	}
	ends := map[tp]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			ends[tp{o.Topic, o.Partition}] = o.Offset
		}
	})
	return ends, nil
}

// open makes the lane of a partition at the place ClickHouse says. It tries until ctx ends.
func (s *Sink) open(ctx context.Context, at tp, ends map[tp]int64) (*lane, error) {
	var from start
	err := s.insert.retry(ctx, tablePositions, func(ctx context.Context) (err error) {
		from, err = readStart(ctx, s.servers, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	if end, ok := ends[at]; ok && from.next > end {
		// The log is another one than that which was read: emptied, or made anew. Its events are
		// new, and those that are not are found by their message ids.
		s.log.ErrorContext(ctx, "the log ends before the position in clickhouse, will read it from its start",
			"topic", at.topic, "partition", at.partition, "position", from.next, "end", end)
		shards := from.shards
		if from, err = s.anotherLog(ctx, at); err != nil {
			return nil, err
		}
		from.shards = shards
	}
	if at.topic != event.TopicChanges {
		err := s.insert.retry(ctx, tableEvents, func(ctx context.Context) error {
			return s.others.remember(ctx, at)
		})
		if err != nil {
			return nil, err
		}
	}
	l := &lane{
		tp: at, cfg: &s.cfg, work: s.work(at, from), records: s.metrics.records.WithLabelValues(at.topic), budget: s.budget, pace: s.pace, now: s.now,
		hole: func(from, to int64) { s.lacks(at, from, to) }, erased: &s.erased,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		next: from.next, logSince: from.logSince,
	}
	from.at = s.now()
	l.position.Store(&from.position)
	l.end.Store(ends[at])
	return l, nil
}

// lacks tells of records that the log removed before they were in the tables. Of events those that come
// after them are worth having all the same; the state tables are wrong until they are made anew.
func (s *Sink) lacks(at tp, from, to int64) {
	s.metrics.missing.WithLabelValues(at.topic).Add(float64(to - from))
	do := "the table has a hole: restore, or have the senders send it again"
	if at.topic == event.TopicChanges {
		do = "keystone recover makes the state tables anew"
	}
	s.log.Error("the log lacks records that were not inserted", "topic", at.topic, "partition", at.partition, "from", from, "records", to-from, "do", do)
}

// anotherLog notes down that a partition's log is not the one the tables know.
func (s *Sink) anotherLog(ctx context.Context, at tp) (start, error) {
	now := s.now()
	from := start{position: position{logSince: now, at: now}}
	return from, s.insert.retry(ctx, tablePositions, func(ctx context.Context) error {
		return savePositions(ctx, s.servers, map[tp]position{at: from.position})
	})
}

func (s *Sink) work(at tp, from start) work {
	traced := traces{tracer: s.cfg.Tracer, group: s.cfg.Group, tp: at}
	if at.topic == event.TopicChanges {
		taken := maps.Clone(from.marks) // the position keeps its own
		if taken == nil {
			taken = marks{}
		}
		return &changeWork{
			tp: at, insert: s.insert, metrics: s.metrics, poison: s.poison, now: s.now,
			taken: taken, merges: from.merges, lineage: from.lineage, tables: newChangeTables(at, from.shards), traces: traced,
		}
	}
	return &eventWork{
		tp: at, insert: s.insert, messages: s.messages, metrics: s.metrics, poison: s.poison,
		decoder: newDecoder(s.cfg.Limits), now: s.now, traces: traced,
	}
}

// revoked is told of partitions that go to another process: their batches are inserted first, so
// that the other finds them in the table.
func (s *Sink) revoked(ctx context.Context, _ *kgo.Client, partitions map[string][]int32) {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	if err := s.finish(ctx, s.takeLanes(partitions)); err != nil {
		s.log.WarnContext(ctx, "gave partitions back without their last position", "error", err)
	}
}

// lost is told of partitions that somebody else may have already: nothing more is inserted.
func (s *Sink) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	for _, l := range s.takeLanes(partitions) {
		l.kill()
		<-l.done
		s.others.leave(l.tp, l.position.Load().next)
		s.metrics.dropLag(l.tp)
	}
}

// takeLanes takes the lanes of the partitions out of the sink; all of them for nil.
func (s *Sink) takeLanes(partitions map[string][]int32) []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []*lane
	take := func(at tp) {
		if l := s.lanes[at]; l != nil {
			taken = append(taken, l)
			delete(s.lanes, at)
		}
	}
	if partitions == nil {
		for at := range s.lanes {
			take(at)
		}
	}
	for topic, list := range partitions {
		for _, partition := range list {
			take(tp{topic, partition})
		}
	}
	return taken
}

// finish ends lanes that were taken out: after their last inserts, or when ctx ends. Then it saves
// their positions.
func (s *Sink) finish(ctx context.Context, lanes []*lane) error {
	for _, l := range lanes {
		l.finish()
	}
	for _, l := range lanes {
		select {
		case <-l.done:
		case <-ctx.Done():
			l.kill()
			<-l.done
		}
	}
	err := s.saveMoved(ctx, lanes)
	for _, l := range lanes {
		s.others.leave(l.tp, l.position.Load().next)
		s.metrics.dropLag(l.tp)
	}
	if err != nil {
		return fmt.Errorf("save last positions: %w", err)
	}
	return ctx.Err()
}
