package edge

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/segment"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Bounds of a batch under way.
const (
	chunkRecords = 1000 // events handed over together
	window       = 4    // chunks handed over and not yet durable
	keepChunk    = 1 << 20
	smallBatch   = 100 // events of an SDK's batch that is live traffic and nothing else
)

// chunk is a part of a batch under way. It owns all memory of its records but, on the native
// endpoints, their values, which are slices of the body.
type chunk struct {
	records []kgo.Record
	refs    []*kgo.Record
	items   []int // which item of the batch a record is
	builder builder
	values  []byte // rewritten messages
	ticket  produce.Ticket
}

func (c *chunk) reset() {
	clear(c.records)
	clear(c.refs)
	c.records, c.refs, c.items, c.ticket = c.records[:0], c.refs[:0], c.items[:0], produce.Ticket{}
	c.builder.reset(keepChunk, keepChunk/40)
	if cap(c.values) > keepChunk {
		c.values = nil
	}
	c.values = c.values[:0]
}

// bulk is many events of one request on their way.
type bulk struct {
	r        *request
	lane     Lane
	jobID    string         // native batches
	foreign  bool           // the items are SDK messages
	around   segment.Around // of them
	chunks   []*chunk       // handed over, oldest first; at most window
	filling  *chunk         //
	deadline time.Time      // for handing over
	accepted int            //
	lost     int            // of the rejected: good ones that could not be made durable
	blocked  int            // of the rejected: those that the tenant does not want
	rejected []rejection    //
	settled  []settled      // of SDK messages: chunks whose fate is known
	places   []job.Chunk    // where in the log accepted ones are
}

// settled is a chunk whose outcome is known.
type settled struct {
	*chunk
	retained bool
}

// rejection is the verdict on one item that was not taken.
type rejection struct {
	index int
	event.Error
}

// run judges the items one by one and makes the good ones durable. What it counts then adds up to
// the number of items.
func (b *bulk) run(items [][]byte) {
	b.r.received(len(items))
	begin, turns := time.Now(), &b.r.turns
	b.deadline = begin.Add(b.r.s.cfg.BulkWithin)
	if b.foreign && len(items) <= smallBatch {
		b.r.s.courtesy.came(begin.UnixMicro())
	} else {
		turns.admit()
	}
	turns.begin()
	for i, item := range items {
		turns.worked(len(item))
		if b.filling == nil {
			if time.Now().After(b.deadline) {
				b.giveUp(i, len(items))
				break
			}
			b.filling = b.newChunk(min(len(items)-i, chunkRecords))
		}
		if err := b.add(i, item); err != nil {
			b.reject(i, *err)
			continue
		}
		if c := b.filling; len(c.records) == cap(c.records) {
			b.submit()
		}
	}
	if b.filling != nil {
		b.submit()
	}
	turns.end()
	for len(b.chunks) > 0 {
		b.settle()
	}
	slices.SortFunc(b.rejected, func(x, y rejection) int { return x.index - y.index })
	b.finish()
	b.r.accepted(b.accepted)
	b.r.trace.spans.sent(b.accepted)
}

func (b *bulk) newChunk(n int) *chunk {
	c := b.r.s.chunks.Get().(*chunk)
	if cap(c.records) < n {
		c.records = make([]kgo.Record, 0, n) // records never move: the log's client points at them
	}
	c.builder.meta, c.builder.userAgent, c.builder.spans = b.r.builder.meta, b.r.builder.userAgent, b.r.trace.spans
	c.builder.meta.JobID = b.jobID
	return c
}

// add judges an item and builds its record.
func (b *bulk) add(i int, item []byte) *event.Error {
	c, value := b.filling, item
	var userAgent []byte
	if b.foreign {
		var err *event.Error
		if value, err = b.rewrite(item); err != nil {
			return err
		}
		userAgent = b.r.desk.message.UserAgent()
	}
	if err := b.r.check(value, b.foreign, userAgent); err != nil {
		return err
	}
	n := len(c.records)
	c.records = c.records[:n+1]
	b.r.s.build(&c.records[n], &c.builder, &b.r.desk.judge, value, userAgent)
	c.refs = append(c.refs, &c.records[n])
	c.items = append(c.items, i)
	return nil
}

// rewrite turns an SDK's message into an event, in the chunk's memory.
func (b *bulk) rewrite(item []byte) ([]byte, *event.Error) {
	m, lim := &b.r.desk.message, b.r.s.cfg.Limits
	err := m.Parse(item, lim)
	c := b.filling
	start := len(c.values)
	if err == nil {
		c.values, err = m.Native(c.values, b.around, lim)
	}
	if err != nil {
		return nil, verdict(err)
	}
	return c.values[start:len(c.values):len(c.values)], nil
}

func (b *bulk) reject(i int, err event.Error) {
	b.rejected = append(b.rejected, rejection{i, err})
	if err.Code == codeBlocked {
		b.blocked++
	}
	b.r.s.metrics.reject(b.r.route.endpoint, err.Code, 1)
}

// giveUp rejects the items that there is no time for.
func (b *bulk) giveUp(from, to int) {
	for i := from; i < to; i++ {
		b.reject(i, event.Error{Code: codeUnavailable, Message: "the log is too slow to take all of the batch; send this one again"})
		b.lost++
	}
}

// submit hands the chunk over. A full window waits for its oldest chunk.
func (b *bulk) submit() {
	c := b.filling
	b.filling = nil
	if len(c.records) == 0 {
		b.recycle(c)
		return
	}
	full := len(b.chunks) == window
	if full {
		b.r.turns.end()
		b.settle()
	}
	c.ticket = b.lane.Submit(c.refs)
	b.chunks = append(b.chunks, c)
	if full {
		b.r.turns.begin()
	}
}

// settle waits for the oldest chunk.
func (b *bulk) settle() {
	c := b.chunks[0]
	b.chunks = b.chunks[1:]
	o := b.lane.Wait(c.ticket)
	b.r.trace.spans.outcome(o)
	b.accepted += len(c.refs) - len(o.Refused) - len(o.Failed)
	if b.jobID != "" {
		b.places = job.Summarize(b.places, o.Logged)
	}
	for _, record := range o.Refused {
		b.reject(c.item(record), event.Error{Code: event.CodeTooLarge, Message: "the event is larger than the log takes"})
	}
	for _, record := range o.Failed {
		b.reject(c.item(record), event.Error{Code: codeUnavailable, Message: "the event could not be stored; send it again"})
		b.lost++
	}
	if o.Err != nil {
		b.r.doubted(o)
	}
	b.r.retained = b.r.retained || o.Retained
	if b.foreign {
		b.settled = append(b.settled, settled{c, o.Retained})
	} else if !o.Retained {
		b.recycle(c)
	}
}

func (b *bulk) recycle(c *chunk) {
	c.reset()
	b.r.s.chunks.Put(c)
}

// finish lets go of an SDK's batch. If a part of it was lost the SDK will send all of it again: what
// was taken already then has to keep its id, also where it was minted here.
func (b *bulk) finish() {
	for _, s := range b.settled {
		if b.lost > 0 {
			b.r.s.doubt.remember(b.r.grant.Tenant, s.refs, time.Now())
		}
		if !s.retained {
			b.recycle(s.chunk)
		}
	}
}

// item is the place in the batch of one of the chunk's records.
func (c *chunk) item(record *kgo.Record) int {
	return c.items[slices.Index(c.refs, record)]
}
