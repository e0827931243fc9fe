package event

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics (spec 3.1).
const (
	TopicEvents   = "keystone.events"
	TopicBackfill = "keystone.backfill"
	TopicChanges  = "keystone.changes"
	TopicDLQ      = "keystone.dlq"
)

// Headers of a record in TopicEvents and TopicBackfill. The value is the event's JSON as accepted.
const (
	HeaderTenant       = "tenant"        // UUID text
	HeaderReceivedAt   = "received_at"   // decimal microseconds since 1970
	HeaderKeyID        = "key_id"        // the id of the API key, never the key
	HeaderRequestID    = "request_id"    //
	HeaderMessageID    = "message_id"    // only where the edge minted it: the value has none
	HeaderIdentityNode = "identity_node" // UUID text: the node id of the first verified identifier, if any
	HeaderIP           = "ip"            // of a browser, textual; not on server-side traffic
	HeaderUserAgent    = "user_agent"    // of a browser, where context.user_agent is missing
	HeaderJobID        = "job_id"        // the batch it came in, on the backfill lane
)

// HeaderTraceparent is in records that are traced, in all topics, and no part of Meta: the span that
// sent the record, in the form of W3C Trace Context.
const HeaderTraceparent = "traceparent"

// Meta is what a record's headers say about its event.
type Meta struct {
	Tenant       uuid.UUID
	ReceivedAt   time.Time // UTC, microseconds; strictly increasing over one edge's records
	KeyID        string
	RequestID    string
	MessageID    string    // minted by the edge, or empty
	IdentityNode uuid.UUID // uuid.Nil without a verified identifier
	IP           string
	UserAgent    string
	JobID        string
}

// ErrBadRecord is wrapped by the errors about a record that no edge of ours can have written.
var ErrBadRecord = errors.New("bad record")

// Headers are the record headers that say m.
func (m *Meta) Headers() []kgo.RecordHeader {
	h, _ := m.AppendHeaders(make([]kgo.RecordHeader, 0, 9), nil)
	return h
}

// AppendHeaders is Headers for who owns the memory, as the edge does: the headers are appended to
// dst and their values to arena; both are returned. The values point into the arena.
func (m *Meta) AppendHeaders(dst []kgo.RecordHeader, arena []byte) ([]kgo.RecordHeader, []byte) {
	start := len(arena)
	put := func(key string) {
		dst = append(dst, kgo.RecordHeader{Key: key, Value: arena[start:len(arena):len(arena)]})
		start = len(arena)
	}
	arena = appendUUID(arena, m.Tenant)
	put(HeaderTenant)
	arena = strconv.AppendInt(arena, m.ReceivedAt.UnixMicro(), 10)
	put(HeaderReceivedAt)
	if m.IdentityNode != uuid.Nil {
		arena = appendUUID(arena, m.IdentityNode)
		put(HeaderIdentityNode)
	}
	for _, x := range [...]struct{ key, value string }{
		{HeaderKeyID, m.KeyID}, {HeaderRequestID, m.RequestID}, {HeaderMessageID, m.MessageID},
		{HeaderIP, m.IP}, {HeaderUserAgent, m.UserAgent}, {HeaderJobID, m.JobID},
	} {
		if x.value != "" {
			arena = append(arena, x.value...)
			put(x.key)
		}
	}
	return dst, arena
}

func appendUUID(dst []byte, id uuid.UUID) []byte {
	var text [36]byte
	hex.Encode(text[:8], id[:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...)
}

// ReadMeta reads a record's headers. Tenant and received_at must be there.
func ReadMeta(headers []kgo.RecordHeader) (Meta, error) {
	r := MetaReader{Text: func(value []byte) string { return string(value) }}
	return r.Read(headers)
}

// MetaReader is ReadMeta for who reads many records, which are of few tenants, and makes a header's bytes a text in
// another way: the sink, which is done with the record before its memory is used again, copies none.
type MetaReader struct {
	Text func([]byte) string

	tenant uuid.UUID // of the last record
	text   []byte    // of tenant
}

// Read reads a record's headers.
func (r *MetaReader) Read(headers []kgo.RecordHeader) (m Meta, err error) {
	var received bool
	for _, h := range headers {
		switch h.Key {
		case HeaderTenant:
			if string(h.Value) != string(r.text) {
				tenant, err := uuid.ParseBytes(h.Value)
				if err != nil {
					return m, fmt.Errorf("%w: header %s: %w", ErrBadRecord, h.Key, err)
				}
				r.tenant, r.text = tenant, append(r.text[:0], h.Value...)
			}
			m.Tenant = r.tenant
		case HeaderReceivedAt:
			us, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err != nil {
				return m, fmt.Errorf("%w: header %s is no number", ErrBadRecord, h.Key)
			}
			m.ReceivedAt, received = time.UnixMicro(us).UTC(), true
		case HeaderIdentityNode:
			if m.IdentityNode, err = uuid.ParseBytes(h.Value); err != nil {
				return m, fmt.Errorf("%w: header %s: %w", ErrBadRecord, h.Key, err)
			}
		case HeaderKeyID:
			m.KeyID = r.Text(h.Value)
		case HeaderRequestID:
			m.RequestID = r.Text(h.Value)
		case HeaderMessageID:
			m.MessageID = r.Text(h.Value)
		case HeaderIP:
			m.IP = r.Text(h.Value)
		case HeaderUserAgent:
			m.UserAgent = r.Text(h.Value)
		case HeaderJobID:
			m.JobID = r.Text(h.Value)
		}
	}
	if m.Tenant == uuid.Nil || !received {
		return m, fmt.Errorf("%w: headers %s and %s are required", ErrBadRecord, HeaderTenant, HeaderReceivedAt)
	}
	return m, nil
}

// RoutingKey is the record key: tenant + 0x1F + the routing identifier's value, so that one
// device's events keep their order (spec 3.1).
func RoutingKey(dst []byte, tenant uuid.UUID, routing Identifier) []byte {
	dst = append(dst, tenant[:]...)
	dst = append(dst, 0x1f)
	return append(dst, routing.Value...)
}
