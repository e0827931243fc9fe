package edge

import (
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// maxUserAgent bounds what is kept of a User-Agent header; what is longer is no browser's.
const maxUserAgent = 1 << 10

// builder makes records. Keys and headers go into an arena that must outlive the records; values are
// not copied. One builder serves one request, or one chunk of a batch, at a time.
type builder struct {
	meta      event.Meta // what is the same for all events of the request
	userAgent []byte     // of the request's header
	ip        []byte
	headers   []kgo.RecordHeader
	arena     []byte
	minted    [36]byte
	spans     *spans // nil: the request is not traced
}

// reset empties the builder; what has grown beyond the limits is left to the garbage collector.
func (b *builder) reset(keepArena, keepHeaders int) {
	if cap(b.arena) > keepArena {
		b.arena = nil
	}
	if cap(b.headers) > keepHeaders {
		b.headers = nil
	}
	clear(b.headers)
	b.headers, b.arena, b.meta, b.userAgent, b.spans = b.headers[:0], b.arena[:0], event.Meta{}, nil, nil
}

// build fills rec with an event that j has just found good. userAgent, if any, is what the client
// said in another place than context.user_agent.
func (s *Server) build(rec *kgo.Record, b *builder, j *judge, value, userAgent []byte) {
	m := &b.meta
	micros := s.clock.next()
	m.ReceivedAt = time.UnixMicro(micros)
	m.MessageID, m.IdentityNode, m.UserAgent = "", uuid.Nil, ""
	if len(j.event.MessageID) == 0 {
		if m.MessageID = s.doubt.recall(m.Tenant, value, m.ReceivedAt); m.MessageID == "" {
			m.MessageID = view(appendMessageID(b.minted[:0], micros))
		}
	}
	if len(j.ids.Verified) > 0 {
		first := &j.ids.Verified[0]
		m.IdentityNode = event.NodeID(m.Tenant, first.Kind, first.Value)
	}
	if userAgent == nil {
		userAgent = b.userAgent
	}
	if len(userAgent) > 0 && !j.saysUserAgent() {
		m.UserAgent = view(userAgent)
	}
	key := len(b.arena)
	b.arena = event.RoutingKey(b.arena, m.Tenant, j.ids.Routing())
	end := len(b.arena)
	first := len(b.headers)
	b.headers, b.arena = m.AppendHeaders(b.headers, b.arena)
	if b.spans != nil {
		if h, ok := b.spans.follow(rec); ok {
			b.headers = append(b.headers, h)
		}
	}
	*rec = kgo.Record{
		Key:       b.arena[key:end:end],
		Value:     value,
		Headers:   b.headers[first:len(b.headers):len(b.headers)],
		Timestamp: m.ReceivedAt,
	}
}

// begin says what is the same for all events of a request.
func (b *builder) begin(r *request) {
	b.meta.Tenant = r.grant.Tenant
	b.meta.KeyID = r.grant.KeyID
	b.meta.RequestID = view(r.requestID)
	b.spans = r.trace.spans
}
