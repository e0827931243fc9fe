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

// decoder turns records into rows. It owns the scratch space that takes and is used by one lane.
type decoder struct {
	limits   event.Limits
	settings event.Settings
	agents   agents

	event   event.Event
	device  event.Event // the anonymous part of event
	ids     event.Identifiers
	scratch []byte
	lists   [numLists][]byte
	known   map[string]bool // products of a long list
}

func newDecoder(limits event.Limits) *decoder {
	return &decoder{
		limits: limits, settings: event.DefaultSettings(),
		agents: agents{}, known: map[string]bool{},
	}
}

// decode fills r from a record. Short texts are copied to t; payload and context stay in the record.
// The error is about the record and holds nothing of it; r is then unusable.
func (d *decoder) decode(record *kgo.Record, t *texts, r *row) error {
	meta, err := event.ReadMeta(record.Headers)
	if err != nil {
		return err
	}
	if err := d.event.Decode(record.Value, d.limits); err != nil {
		return err
	}
	*r = row{
		tenant: meta.Tenant, identityNode: meta.IdentityNode, receivedAt: meta.ReceivedAt,
		offset: record.Offset, products: r.products[:0],
	}
	e := &d.event
	var note event.TimeNote
	r.timestamp, note = e.Time(meta.ReceivedAt)

	r.text[colEventType] = e.Type.String()
	r.text[colEventName] = t.keep(e.Name)
	r.text[colKeyID], r.text[colRequestID], r.text[colJobID] = meta.KeyID, meta.RequestID, meta.JobID
	if r.text[colMessageID] = t.keep(e.MessageID); r.text[colMessageID] == "" {
		r.text[colMessageID] = meta.MessageID
	}
	r.text[colPayload], r.text[colContext], r.text[colExtra] = d.object(e.Payload, t), d.object(e.Context, t), emptyObject
	if e.Unknown || e.PreviousID != nil || e.GroupID != nil || note != event.TimeOK {
		r.text[colExtra] = d.extra(record.Value, note, t)
	}
	d.identities(&meta, t, r)
	d.enrich(&meta, t, r)
	return nil
}

// identities tells whom the event names.
func (d *decoder) identities(meta *event.Meta, t *texts, r *row) {
	e := &d.event
	switch jsonscan.KindOf(e.Identity) {
	case jsonscan.String, jsonscan.Number:
		r.text[colIdentity] = d.scalar(e.Identity, t)
	case jsonscan.Object:
		r.text[colIdentity] = d.object(e.Identity, t)
	}
	// Only the device's identifier is worked out here; the edge knew the tenant's settings, which it
	// takes for the verified ones, and left the first of those in the header.
	d.device = event.Event{Type: event.Page, AnonymousID: e.AnonymousID}
	if e.Type == event.Alias {
		d.device.Type, d.device.PreviousID = event.Alias, e.PreviousID
	}
	r.profileNode = meta.IdentityNode
	if e.AnonymousID == nil && d.device.PreviousID == nil {
		return
	}
	d.device.Identifiers(meta.Tenant, &d.settings, &d.ids)
	if n := len(d.ids.Anonymous); n > 0 {
		r.profileNode = d.ids.Anonymous[n-1].Node
		if e.AnonymousID != nil {
			r.text[colAnonymousID] = d.ids.Anonymous[n-1].Value
		}
	}
	if r.profileNode == uuid.Nil && len(d.ids.Verified) > 0 {
		r.profileNode = d.ids.Verified[0].Node
	}
}

// extra gathers the top-level members that have no column, those whose column does not hold what was
// given included.
func (d *decoder) extra(value []byte, note event.TimeNote, t *texts) string {
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
	return t.keep(out)
}

// object is the raw text of an object, fit for ClickHouse. It stays in the record unless it has to
// be mended.
func (d *decoder) object(raw []byte, t *texts) string {
	if raw == nil {
		return emptyObject
	}
	if !maybeSurrogate(raw) {
		return view(raw)
	}
	d.scratch = append(d.scratch[:0], raw...)
	mend(d.scratch)
	return t.keep(d.scratch)
}

// scalar is the text of a string or number, else nothing.
func (d *decoder) scalar(raw []byte, t *texts) string { return t.keep(d.text(raw)) }

// text is the text of a string or number, else nil. It is valid until the next call.
func (d *decoder) text(raw []byte) []byte {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String:
		if bytes.IndexByte(raw, '\\') < 0 {
			return raw[1 : len(raw)-1]
		}
		d.scratch = jsonscan.Unquote(d.scratch[:0], raw)
		return d.scratch
	case jsonscan.Number:
		return raw
	}
	return nil
}
