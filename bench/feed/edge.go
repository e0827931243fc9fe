package feed

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Edge makes records of event bodies as the real one writes them to the log: key, headers, routing.
// It belongs to one goroutine.
type Edge struct {
	tenant   uuid.UUID
	settings event.Settings
	received time.Time
	past     bool
	event    event.Event
	ids      event.Identifiers
	requests uint64
}

// NewEdge is an edge to which events come from start on, one after the other without a pause.
func NewEdge(tenant uuid.UUID, start time.Time) *Edge {
	return &Edge{tenant: tenant, settings: event.DefaultSettings(), received: start.UTC().Truncate(time.Microsecond)}
}

// PastEdge is an edge to which events came when they happened, a moment later; those that are late
// come with the ones around them.
func PastEdge(tenant uuid.UUID) *Edge {
	e := NewEdge(tenant, time.Time{})
	e.past = true
	return e
}

// Record is the record of one body, which is copied. received_at strictly increases.
func (e *Edge) Record(body []byte) (*kgo.Record, error) {
	if err := e.event.Decode(body, event.DefaultLimits()); err != nil {
		return nil, fmt.Errorf("decode an event of the stream: %w", err)
	}
	e.event.Identifiers(e.tenant, &e.settings, &e.ids)
	e.requests++
	device := xxhash.Sum64String(e.ids.Routing().Value)
	e.received = e.received.Add(time.Microsecond)
	if at, _ := e.event.Time(farAhead); e.past && at.Before(farAhead) {
		if at = at.Add(30*time.Millisecond + time.Duration(xxhash.Sum64(body)%300_000)*time.Microsecond); at.After(e.received) {
			e.received = at
		}
	}
	meta := event.Meta{Tenant: e.tenant, ReceivedAt: e.received, KeyID: "trk_1", RequestID: e.requestID(), IP: address(device)}
	if len(e.ids.Verified) > 0 {
		meta.IdentityNode = e.ids.Verified[0].Node
	}
	return &kgo.Record{
		Key:     event.RoutingKey(nil, e.tenant, e.ids.Routing()),
		Value:   append([]byte(nil), body...),
		Headers: meta.Headers(),
	}, nil
}

// farAhead is later than any event of a stream, whose times are thus taken as they are.
var farAhead = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// requestID is one like the edge's own: its start and a number.
func (e *Edge) requestID() string { return "m2k9x1c4-" + strconv.FormatUint(e.requests, 36) }

// address is a device's, of 2^16 networks.
func address(device uint64) string {
	return netip.AddrFrom4([4]byte{byte(20 + device%100), byte(device >> 8), byte(device >> 16), byte(device >> 24)}).String()
}
