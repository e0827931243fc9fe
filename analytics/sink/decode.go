package sink

import (
	"bytes"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// emptyObject stands for a missing payload, context or extra.
const emptyObject = "{}"

// opened is a record that was told apart: all of it but what is in its parts. It holds what the record's row
// is made of until the next record is opened in its place.
type opened struct {
	record  *kgo.Record
	err     error // what is wrong with the record
	meta    event.Meta
	event   event.Event
	message message
	hash    uint64 // of the message
	verdict verdict
}

// decoder turns records into rows. It owns the scratch space that takes and is used by one lane.
type decoder struct {
	limits   event.Limits
	settings event.Settings
	agents   agents
	metas    event.MetaReader

	event   *event.Event // of the record
	device  event.Event  // of an alias: the anonymous part of event
	ids     event.Identifiers
	texts   texts // of the record: what is not in it as it is
	walk    jsonscan.Walk
	scratch []byte
	lists   [numLists][]byte
	known   map[string]bool // products of a long list
}

func newDecoder(limits event.Limits) *decoder {
	return &decoder{
		limits: limits, settings: event.DefaultSettings(),
		agents: agents{}, metas: event.MetaReader{Text: view}, known: map[string]bool{},
	}
}

// open tells a record apart, and answers whether it has a message id. It changes nothing but o.
func (d *decoder) open(record *kgo.Record, o *opened) (named bool) {
	o.record, o.message = record, message{}
	if o.meta, o.err = d.metas.Read(record.Headers); o.err != nil {
		return false
	}
	if o.err = o.event.Decode(record.Value, d.limits); o.err != nil {
		return false
	}
	o.message = message{o.meta.Tenant, view(o.event.MessageID)}
	if o.message.id == "" {
		o.message.id = o.meta.MessageID
	}
	return o.message.id != ""
}

// fill fills r from a record that was opened. Its texts are in the record, in what was opened and in the
// decoder: they are valid until the next one is filled. The error is about the record and holds nothing of
// it; r is then unusable.
func (d *decoder) fill(o *opened, r *row) error {
	if o.err != nil {
		return o.err
	}
	d.texts.reset()
	d.event = &o.event
	record, meta := o.record, &o.meta
	*r = row{
		tenant: meta.Tenant, identityNode: meta.IdentityNode, receivedAt: meta.ReceivedAt,
		offset: record.Offset, products: r.products[:0],
	}
	e := d.event
	var note event.TimeNote
	r.timestamp, note = e.Time(meta.ReceivedAt)

	r.text[colEventType] = e.Type.String()
	r.text[colEventName] = view(e.Name)
	r.text[colKeyID], r.text[colRequestID], r.text[colJobID] = meta.KeyID, meta.RequestID, meta.JobID
	r.text[colMessageID] = o.message.id
	r.text[colPayload], r.text[colContext], r.text[colExtra] = d.object(e.Payload), d.object(e.Context), emptyObject
	if e.Unknown || e.PreviousID != nil || e.GroupID != nil || note != event.TimeOK {
		r.text[colExtra] = d.extra(record.Value, note)
	}
	d.identities(meta, r)
	d.enrich(meta, r)
	return nil
}

// identities tells whom the event names.
func (d *decoder) identities(meta *event.Meta, r *row) {
	e := d.event
	switch jsonscan.KindOf(e.Identity) {
	case jsonscan.String, jsonscan.Number:
		r.text[colIdentity] = d.scalar(e.Identity)
	case jsonscan.Object:
		r.text[colIdentity] = d.object(e.Identity)
	}
	// Only the device's identifier is worked out here; the edge knew the tenant's settings, which it
	// takes for the verified ones, and left the first of those in the header.
	r.profileNode = meta.IdentityNode
	if e.AnonymousID != nil {
		if id, ok := event.AnonymousID(e.AnonymousID); ok {
			r.text[colAnonymousID] = view(id)
			r.profileNode = event.NodeID(meta.Tenant, event.KindAnonymous, r.text[colAnonymousID])
			return
		}
	}
	if e.Type == event.Alias && e.PreviousID != nil {
		d.previous(meta, r)
	}
}

// previous takes the id an alias replaces for the node of an event without a device.
func (d *decoder) previous(meta *event.Meta, r *row) {
	d.device = event.Event{Type: event.Alias, PreviousID: d.event.PreviousID}
	d.device.Identifiers(meta.Tenant, &d.settings, &d.ids)
	switch {
	case len(d.ids.Anonymous) > 0:
		r.profileNode = d.ids.Anonymous[0].Node
		if d.event.AnonymousID != nil { // it stands for nobody
			r.text[colAnonymousID] = d.ids.Anonymous[0].Value
		}
	case r.profileNode == uuid.Nil && len(d.ids.Verified) > 0:
		r.profileNode = d.ids.Verified[0].Node
	}
}

// extra gathers the top-level members that have no column, those whose column does not hold what was
// given included.
func (d *decoder) extra(value []byte, note event.TimeNote) string {
	out := d.scratch[:0]
	out = append(out, '{')
	var m jsonscan.Members
	m.Reset(value, d.limits.Depth)
	for m.Next() {
		switch string(m.Key()) {
		case "event_type", "message_id", "anonymous_id", "event_name", "identity", "payload", "context":
			continue
		case "timestamp", "sent_at":
			if note == event.TimeOK {
				continue
			}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		key, err := json.Marshal(string(m.Key()))
		if err != nil {
			continue // a string always marshals
		}
		out = append(out, key...)
		out = append(out, ':')
		out = append(out, m.Value()...)
	}
	out = append(out, '}')
	d.scratch = out
	mend(out)
	return view(d.texts.keep(out))
}

// object is the raw text of an object, fit for ClickHouse. It stays in the record unless it has to
// be mended.
func (d *decoder) object(raw []byte) string {
	if raw == nil {
		return emptyObject
	}
	if !maybeSurrogate(raw) {
		return view(raw)
	}
	mended := d.texts.keep(raw)
	mend(mended)
	return view(mended)
}

// scalar is the text of a string or number, else nothing.
func (d *decoder) scalar(raw []byte) string { return view(d.text(raw)) }

// text is the text of a string or number, else nil.
func (d *decoder) text(raw []byte) []byte {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String:
		if bytes.IndexByte(raw, '\\') < 0 {
			return raw[1 : len(raw)-1]
		}
		d.scratch = jsonscan.Unquote(d.scratch[:0], raw)
		return d.texts.keep(d.scratch)
	case jsonscan.Number:
		return raw
	}
	return nil
}
