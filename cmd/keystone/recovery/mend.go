package recovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/outbox"
)

// owner is what an offset row names that was reset.
const owner = "keystone recover"

// Mended is what Mend did.
type Mended struct {
	Reset []string `json:"reset,omitempty"` // partitions whose offset rows were set to the log's start
	Rows  int64    `json:"rows"`            // written to ClickHouse's state tables
}

// ErrRunning says that a processor or a sink is in its group.
var ErrRunning = errors.New("stop every processor and every sink first; one that was killed leaves its group after its session's timeout")

// Mend lets the processor go on where the state store is, from the log's start where that is another log,
// and makes ClickHouse's state tables anew. It is safe to run again, and has to be until it succeeds.
func (r *Recovery) Mend(ctx context.Context, found []Partition) (*Mended, error) {
	if err := r.quiet(ctx); err != nil {
		return nil, err
	}
	// Before the offset rows: whoever runs this again, after it broke off, no longer finds another log in them.
	var anew []sink.Place
	for _, p := range found {
		if p.NotThisLog {
			anew = append(anew, sink.Place{Topic: p.Topic, Partition: p.Partition, Offset: p.LogStart})
		}
	}
	rebuilder := sink.NewRebuilder(r.servers, r.log)
	if err := rebuilder.Begin(ctx, anew...); err != nil {
		return nil, err
	}
	done := new(Mended)
	for _, p := range found {
		if !p.NotThisLog {
			continue
		}
		if err := r.reset(ctx, p); err != nil {
			return done, err
		}
		done.Reset = append(done.Reset, source(p.Topic, p.Partition))
	}
	if err := r.tellGroup(ctx); err != nil {
		return done, err
	}
	return done, r.rebuild(ctx, rebuilder, done)
}

// quiet wants nobody in the groups.
func (r *Recovery) quiet(ctx context.Context) error {
	groups, err := r.admin.DescribeGroups(ctx, processorGroup, sinkGroup)
	if err != nil {
		return fmt.Errorf("look who runs: %w", err)
	}
	for _, g := range groups.Sorted() {
		if len(g.Members) > 0 {
			return fmt.Errorf("%w: %d members in %s", ErrRunning, len(g.Members), g.Group)
		}
	}
	return nil
}

// reset moves an offset row to the start of the log. What waits in the outbox under the old offsets is
// produced before: later batches will have those numbers again.
func (r *Recovery) reset(ctx context.Context, p Partition) error {
	if p.Processed == 0 {
		return nil // it has no row, or is at the start
	}
	publisher, err := outbox.New(outbox.DefaultConfig(), r.client, r.states, r.log, outbox.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		return err
	}
	if err := publisher.Open(p.Topic, p.Partition, math.MaxInt64).Close(ctx); err != nil {
		return err
	}
	return r.states.ResetOffset(ctx, p.Topic, p.Partition, p.Processed, p.LogStart, owner)
}

// tellGroup commits the offset rows to the processor's group, which knows others.
func (r *Recovery) tellGroup(ctx context.Context) error {
	rows, err := r.rows(ctx)
	if err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	for at, next := range rows {
		if at.topic == event.TopicEvents || at.topic == event.TopicBackfill {
			offsets.AddOffset(at.topic, at.partition, next, -1)
		}
	}
	// A partition the state store has no row of is begun at the log's start: the group must not know better.
	told, err := r.told(ctx)
	if err != nil {
		return err
	}
	told.Each(func(o kadm.OffsetResponse) {
		if _, ok := rows[place{o.Topic, o.Partition}]; !ok {
			offsets.AddOffset(o.Topic, o.Partition, 0, -1)
		}
	})
	if len(offsets) == 0 {
		return nil
	}
	if err := r.admin.CommitAllOffsets(ctx, processorGroup, offsets); err != nil {
		return fmt.Errorf("tell the processor's group: %w", err)
	}
	return nil
}

// rebuild takes the ends of keystone.changes before the snapshot: what comes after them is either in the
// snapshot, and known by its source, or is not.
func (r *Recovery) rebuild(ctx context.Context, rebuilder *sink.Rebuilder, done *Mended) error {
	_, ends, err := r.bounds(ctx, event.TopicChanges)
	if err != nil {
		return err
	}
	at := sink.Standing{Ends: map[int32]int64{}, Sources: map[string]int64{}}
	for _, end := range ends.Offsets().Sorted() {
		at.Ends[end.Partition] = end.At
	}
	before, err := r.rows(ctx)
	if err != nil {
		return err
	}
	for p, next := range before {
		at.Sources[source(p.topic, p.partition)] = next
	}
	if done.Rows, err = rebuilder.Rebuild(ctx, at, r.snapshot(ctx, before)); err != nil {
		return fmt.Errorf("make the state tables anew: %w", err)
	}
	return nil
}

// snapshot is every tenant's. It fails where something was processed meanwhile.
func (r *Recovery) snapshot(ctx context.Context, before map[place]int64) iter.Seq2[event.Change, error] {
	return func(yield func(event.Change, error) bool) {
		tenants, err := r.plane.Tenants(ctx)
		if err != nil {
			yield(event.Change{}, err)
			return
		}
		for _, tenant := range tenants {
			for change, err := range r.states.Snapshot(ctx, tenant.ID) {
				if !yield(change, err) || err != nil {
					return
				}
			}
		}
		after, err := r.rows(ctx)
		if err == nil && !maps.Equal(before, after) {
			err = ErrRunning
		}
		if err != nil {
			yield(event.Change{}, err)
		}
	}
}
