package consume

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/store"
)

// item is one record of a batch: an event, or what it is not.
type item struct {
	record *kgo.Record
	meta   event.Meta
	event  *apply.Event // nil: dead
	dead   *store.DeadLetter
}

// Decoder makes an event of a record. It belongs to one goroutine.
type Decoder struct {
	Limits event.Limits // of an event: at least the edge's
	event  event.Event  // scratch
}

// Decode reads a record under its tenant's settings into to, whose identifiers' memory it uses
// again. What it makes points into the record's value. A record that is none has a reason of the
// closed set and an error, which never quotes the event.
func (d *Decoder) Decode(r *kgo.Record, meta *event.Meta, s *event.Settings, to *apply.Event) (note event.TimeNote, reason string, err error) {
	e := &d.event
	*to = apply.Event{IDs: to.IDs}
	if err := e.Decode(r.Value, d.Limits); err != nil {
		to.IDs = event.Identifiers{}
		return event.TimeOK, ReasonInvalidEvent, err
	}
	e.Identifiers(meta.Tenant, s, &to.IDs)
	if to.IDs.Empty() {
		return event.TimeOK, ReasonNoIdentifier, errors.New("the event names nobody")
	}
	to.At, note = e.Time(meta.ReceivedAt)
	to.Tenant, to.MessageID = meta.Tenant, messageID(e, r, meta)
	to.Type, to.Name, to.GroupID = e.Type, store.Text(string(e.Name)), store.Text(string(e.GroupID))
	to.Payload, to.ReceivedAt = e.Payload, meta.ReceivedAt
	if traits := event.Member(e.Context, "traits"); jsonscan.KindOf(traits) == jsonscan.Object {
		to.Traits = traits
	}
	return note, "", nil
}

// messageID is what tells a repetition: the client's, else the edge's, else the place in the log,
// which no other record has.
func messageID(e *event.Event, r *kgo.Record, meta *event.Meta) string {
	switch {
	case len(e.MessageID) > 0:
		return store.Text(string(e.MessageID))
	case meta.MessageID != "":
		return store.Text(meta.MessageID)
	}
	return fmt.Sprintf("log:%s/%d/%d", r.Topic, r.Partition, r.Offset)
}

// decoder turns a batch's records into events, which live as long as the batch. It belongs to one
// worker.
type decoder struct {
	Decoder
	metrics *Metrics
}

// meta reads the headers of a batch, and tells which tenants it names.
func (d *decoder) meta(records []*kgo.Record) ([]item, map[uuid.UUID]struct{}) {
	items, tenants := make([]item, len(records)), map[uuid.UUID]struct{}{}
	for i, r := range records {
		items[i].record = r
		meta, err := event.ReadMeta(r.Headers)
		items[i].meta = meta
		if err != nil {
			items[i].dead = deadLetter(r, &meta, ReasonBadRecord, err)
			continue
		}
		tenants[meta.Tenant] = struct{}{}
	}
	return items, tenants
}

// events decodes the values.
func (d *decoder) events(items []item, settings map[uuid.UUID]*event.Settings) {
	events := make([]apply.Event, len(items)) // one allocation for all
	for i := range items {
		it := &items[i]
		if it.dead != nil {
			continue
		}
		s := settings[it.meta.Tenant]
		if s == nil {
			it.dead = deadLetter(it.record, &it.meta, ReasonUnknownTenant, errors.New("there is no such tenant"))
			continue
		}
		if err := d.decode(it, s, &events[i]); err != nil {
			it.dead = err
			continue
		}
		it.event = &events[i]
	}
}

func (d *decoder) decode(it *item, s *event.Settings, to *apply.Event) *store.DeadLetter {
	note, reason, err := d.Decode(it.record, &it.meta, s, to)
	d.metrics.dropped.Add(float64(to.IDs.Dropped))
	if err != nil {
		return deadLetter(it.record, &it.meta, reason, err)
	}
	if note != event.TimeOK {
		d.metrics.times.WithLabelValues(timeNotes[note]).Inc()
	}
	return nil
}
