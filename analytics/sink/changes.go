package sink

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// changeWork brings keystone.changes into the state tables. Each row ends up there once in effect,
// by three rules:
//
//   - A record that the processor produced again after a crash comes at a new offset. Its headers
//     name its source; what is not higher than the source's mark was taken before and is skipped.
//   - A batch goes to six tables, one insert each (and for each shard), and the position is saved afterwards. After a
//     crash the sink goes on at the saved position with the marks of that very moment, so it takes
//     the same records and skips the same ones.
//   - identity_map, profiles, orders and products keep the highest version, so the same row again
//     changes nothing. attribute_changes and profile_merges keep every row; those carry the record's
//     offset, and as each insert is whole and in order, what is below the table's end is there and is
//     skipped.
type changeWork struct {
	tp
	insert  *inserter
	metrics *metrics
	poison  *poisonLog
	now     func() time.Time

	taken   marks         // of the records taken, the batch's included
	lineage int64         // attribute_changes has every row before this offset
	merges  int64         // profile_merges has every row before this offset
	tables  *changeTables // as many of some as there are shards
	traces  traces
	erased  *erased // of the batch
}

func (w *changeWork) rows() int { return w.tables.rows() }

// marks are copied: the position outlives the batch.
func (w *changeWork) marks() marks { return maps.Clone(w.taken) }

func (w *changeWork) begin(e *erased) { w.erased = e }

func (w *changeWork) abandon() {
	w.release()
	w.traces.abandon()
}

// keptChanges is how much memory a lane of changes keeps for its next batch, also while there is no traffic.
const keptChanges = 8 << 20

func (w *changeWork) release() {
	if w.tables.reset(); w.tables.memory() > keptChanges {
		w.tables = newChangeTables(w.tp, len(w.tables.profiles))
	}
}

// take takes one: there are few.
func (w *changeWork) take(ctx context.Context, records []*kgo.Record) (int, error) {
	w.takeOne(ctx, records[0])
	return 1, nil
}

func (w *changeWork) takeOne(ctx context.Context, record *kgo.Record) {
	source, err := readSource(record.Headers)
	if err == nil && w.taken.has(source) {
		w.traces.take(record, resultRepeated)
		w.metrics.repeated.Inc()
		return
	}
	var c event.Change
	if err == nil && json.Unmarshal(record.Value, &c) != nil {
		err = fmt.Errorf("%w: the value is no change", event.ErrBadRecord) // the decoder's own words may quote it
	}
	if err != nil {
		w.traces.take(record, resultSkipped)
		w.poison.skip(ctx, record, err)
		return
	}
	w.traces.take(record, "")
	w.taken.add(source)
	if w.erased.concerns(c.TenantID) && c.Erase(w.erased.of(c.TenantID)) {
		w.metrics.erased.WithLabelValues(w.topic).Inc()
	}
	w.tables.add(&c, w.tp, record.Offset, record.Offset >= w.merges, record.Offset >= w.lineage)
}

func (w *changeWork) flush(ctx context.Context, at span) error {
	w.tables.load(w.now())
	ctx, traced := w.traces.flush(ctx)
	err := w.tables.insert(ctx, w.insert, at)
	traced.end(err)
	if err != nil {
		return err
	}
	w.release()
	return nil
}

// source is where a change comes from: the batch of the processor and the place in it.
type source struct {
	name     string // topic/partition
	position [2]int64
}

func readSource(headers []kgo.RecordHeader) (s source, err error) {
	var topic, partition string
	for _, h := range headers {
		switch h.Key {
		case event.HeaderSourceTopic:
			topic = string(h.Value)
		case event.HeaderSourcePartition:
			partition = string(h.Value)
		case event.HeaderSourceOffset:
			s.position[0], err = strconv.ParseInt(string(h.Value), 10, 64)
		case event.HeaderSequence:
			s.position[1], err = strconv.ParseInt(string(h.Value), 10, 64)
		}
		if err != nil {
			return s, fmt.Errorf("%w: header %s is no number", event.ErrBadRecord, h.Key)
		}
	}
	if topic == "" || partition == "" || s.position[0] <= 0 {
		return s, fmt.Errorf("%w: headers %s, %s and %s are required", event.ErrBadRecord,
			event.HeaderSourceTopic, event.HeaderSourcePartition, event.HeaderSourceOffset)
	}
	s.name = topic + "/" + partition
	return s, nil
}

// has tells whether a source's position, or a higher one, was taken.
func (m marks) has(s source) bool {
	mark, ok := m[s.name]
	return ok && (s.position[0] < mark[0] || s.position[0] == mark[0] && s.position[1] <= mark[1])
}

func (m marks) add(s source) { m[s.name] = s.position }
