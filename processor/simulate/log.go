package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Limits of reading. What is fetched and not taken yet is at most the queues, one more fetch, and the
// client's own buffer of fetchBytes for each broker.
const (
	fetchBytes          = 8 << 20 // per broker
	fetchPartitionBytes = 1 << 20
	// What is read is there already. A fetch that waits for more, of partitions that are read to their
	// end, holds back those that went on meanwhile.
	fetchWait    = 10 * time.Millisecond
	pollRecords  = 2000
	queueRecords = 2000 // of one partition; then it pauses

	// stall is how long the log may give nothing of what it said it has.
	stall = 30 * time.Second

	// clockSlack is by how much the clocks of edges and brokers may differ: records are looked for by
	// the log's time, and chosen by received_at.
	clockSlack = time.Minute
)

// record is one of the tenant's, in the window.
type record struct {
	*kgo.Record
	meta event.Meta
	lane string // its partition
}

// reader gives the tenant's records: those of a partition in their order, as the processor takes
// them, and those of different partitions, which have no order in common, by received_at. It ends
// where the log ended when it was opened. It belongs to one goroutine.
type reader struct {
	client *kgo.Client
	tenant uuid.UUID
	from   time.Time
	parts  []*part // live ones before the backfill's, then by partition

	progress    func(done, total int64) // may be nil
	done, total int64                   // records, all tenants'
	unreadable  int64
	shortened   int // partitions that begin later than from, as far as can be told
}

type part struct {
	topic     string
	partition int32
	lane      string
	next, end int64 // offsets
	queue     []*record
	paused    bool
}

func (p *part) wants() bool { return len(p.queue) == 0 && p.next < p.end }

func (p *part) name() map[string][]int32 { return map[string][]int32{p.topic: {p.partition}} }

// openLog finds the window. A zero from is the beginning of the log.
func openLog(ctx context.Context, brokers []string, tenant uuid.UUID, from time.Time, access ...kgo.Opt) (*reader, error) {
	r := &reader{tenant: tenant, from: from}
	probe, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ClientID(clientID)}, access...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	defer probe.Close()
	begin, err := r.window(ctx, kadm.NewClient(probe))
	if err != nil {
		return nil, fmt.Errorf("look for the window in the log: %w", err)
	}
	// No group: nobody loses a partition to this command, and no offset is committed.
	if r.client, err = kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ClientID(clientID), kgo.ConsumePartitions(begin),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // where retention overtakes
		kgo.FetchMaxWait(fetchWait), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartitionBytes)}, access...)...); err != nil {
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	return r, nil
}

const clientID = "keystone-simulate"

func (r *reader) close() { r.client.Close() }

// window finds where each partition begins and ends, and answers what there is to fetch.
func (r *reader) window(ctx context.Context, admin *kadm.Client) (map[string]map[int32]kgo.Offset, error) {
	topics := []string{event.TopicEvents, event.TopicBackfill}
	ends, err := listed(admin.ListEndOffsets(ctx, topics...))
	if err != nil {
		return nil, err
	}
	starts, err := listed(admin.ListStartOffsets(ctx, topics...))
	if err != nil {
		return nil, err
	}
	begins := starts
	if !r.from.IsZero() {
		if begins, err = listed(admin.ListOffsetsAfterMilli(ctx, r.from.Add(-clockSlack).UnixMilli(), topics...)); err != nil {
			return nil, err
		}
	}
	fetch := map[string]map[int32]kgo.Offset{}
	for _, end := range ends.Offsets().Sorted() {
		begin, ok := begins.Lookup(end.Topic, end.Partition)
		start, known := starts.Lookup(end.Topic, end.Partition)
		if !ok || !known {
			return nil, fmt.Errorf("%s/%d has an end and no beginning", end.Topic, end.Partition)
		}
		if start.Offset > 0 && begin.Offset == start.Offset {
			r.shortened++
		}
		if begin.Offset >= end.At {
			continue
		}
		r.parts = append(r.parts, &part{topic: end.Topic, partition: end.Partition, next: begin.Offset, end: end.At,
			lane: fmt.Sprintf("%s/%d", end.Topic, end.Partition)})
		r.total += end.At - begin.Offset
		if fetch[end.Topic] == nil {
			fetch[end.Topic] = map[int32]kgo.Offset{}
		}
		fetch[end.Topic][end.Partition] = kgo.NewOffset().At(begin.Offset)
	}
	slices.SortStableFunc(r.parts, func(a, b *part) int { // live traffic goes first, as in the processor
		return cmp.Compare(slices.Index(topics, a.topic), slices.Index(topics, b.topic))
	})
	return fetch, nil
}

func listed(all kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	return all, errors.Join(err, all.Error())
}

// next is the next record, or nil at the end.
func (r *reader) next(ctx context.Context) (*record, error) {
	for r.wanting() != nil {
		if err := r.fetch(ctx); err != nil {
			return nil, err
		}
	}
	var first *part
	for _, p := range r.parts {
		// A tie goes to the part that comes first.
		if len(p.queue) > 0 && (first == nil || p.queue[0].meta.ReceivedAt.Before(first.queue[0].meta.ReceivedAt)) {
			first = p
		}
	}
	if first == nil {
		return nil, nil
	}
	x := first.queue[0]
	first.queue[0] = nil
	first.queue = first.queue[1:]
	if first.paused && first.next < first.end && len(first.queue) <= queueRecords/2 {
		r.client.ResumeFetchPartitions(first.name())
		first.paused = false
	}
	return x, nil
}

// wanting is a partition of which the next record is not known yet.
func (r *reader) wanting() *part {
	for _, p := range r.parts {
		if p.wants() {
			return p
		}
	}
	return nil
}

func (r *reader) fetch(ctx context.Context) error {
	poll, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	fetches := r.client.PollRecords(poll, pollRecords)
	if err := ctx.Err(); err != nil {
		return err
	}
	if poll.Err() != nil {
		p := r.wanting()
		return fmt.Errorf("%s/%d gives nothing for %s, from offset %d to %d", p.topic, p.partition, stall, p.next, p.end)
	}
	if errs := fetches.Errors(); len(errs) > 0 {
		return fmt.Errorf("fetch %s/%d: %w", errs[0].Topic, errs[0].Partition, errs[0].Err)
	}
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		for _, p := range r.parts {
			if p.topic == f.Topic && p.partition == f.Partition {
				r.put(p, f.Records)
				// Retention may have taken all that was left.
				if f.LogStartOffset >= p.end {
					r.advance(p, p.end)
				}
			}
		}
	})
	if r.progress != nil {
		r.progress(r.done, r.total)
	}
	return nil
}

// put queues what is the tenant's and in the window.
func (r *reader) put(p *part, records []*kgo.Record) {
	for _, x := range records {
		if x.Offset < p.next || x.Offset >= p.end {
			continue
		}
		r.advance(p, x.Offset+1)
		meta, err := event.ReadMeta(x.Headers)
		if err != nil {
			r.unreadable++
		} else if meta.Tenant == r.tenant && !meta.ReceivedAt.Before(r.from) {
			p.queue = append(p.queue, &record{Record: x, meta: meta, lane: p.lane})
		}
	}
	if n := len(records); n > 0 && records[n-1].Offset >= p.end {
		r.advance(p, p.end) // the last offsets before it hold no records
	}
	// One that is read to its end goes on no more.
	if !p.paused && (len(p.queue) >= queueRecords || p.next >= p.end) {
		r.client.PauseFetchPartitions(p.name())
		p.paused = true
	}
}

func (r *reader) advance(p *part, to int64) {
	r.done += to - p.next
	p.next = to
}
