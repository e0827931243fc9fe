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

// decoder turns records into events. What it makes points into the records' values, which live as
// long as the batch. It belongs to one worker.
type decoder struct {
	limits  event.Limits
	metrics *Metrics
	event   event.Event // scratch
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
	e := &d.event
	if err := e.Decode(it.record.Value, d.limits); err != nil {
		return deadLetter(it.record, &it.meta, ReasonInvalidEvent, err)
	}
	e.Identifiers(it.meta.Tenant, s, &to.IDs)
	d.metrics.dropped.Add(float64(to.IDs.Dropped))
	if to.IDs.Empty() {
		return deadLetter(it.record, &it.meta, ReasonNoIdentifier, errors.New("the event names nobody"))
	}
	at, note := e.Time(it.meta.ReceivedAt)
	if note != event.TimeOK {
		d.metrics.times.WithLabelValues(timeNotes[note]).Inc()
	}
	to.Tenant, to.MessageID = it.meta.Tenant, messageID(e, it)
	to.Type, to.Name, to.GroupID = e.Type, store.Text(string(e.Name)), store.Text(string(e.GroupID))
	to.Payload, to.At, to.ReceivedAt = e.Payload, at, it.meta.ReceivedAt
	if traits := event.Member(e.Context, "traits"); jsonscan.KindOf(traits) == jsonscan.Object {
		to.Traits = traits
	}
	return nil
}

// messageID is what tells a repetition: the client's, else the edge's, else the place in the log,
// which no other record has.
func messageID(e *event.Event, it *item) string {
	switch {
	case len(e.MessageID) > 0:
		return store.Text(string(e.MessageID))
	case it.meta.MessageID != "":
		return store.Text(it.meta.MessageID)
	}
	return fmt.Sprintf("log:%s/%d/%d", it.record.Topic, it.record.Partition, it.record.Offset)
}
