// Package model is a second, slow and obvious writing of the processor's rules (spec 2), made to
// check the real one against: one event at a time, over plain maps, counting by looking at everything.
// It shares no code with the engine but the events' own types. Nothing but tests uses it.
package model

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Event is one event as the log has it, and the partition of the log it is in.
type Event struct {
	Lane       string
	Tenant     uuid.UUID
	MessageID  string
	Type       event.Type
	Name       string
	IDs        event.Identifiers
	Payload    []byte
	Traits     []byte
	GroupID    string
	At         time.Time
	ReceivedAt time.Time
}

// Profile is a person or a device.
type Profile struct {
	Tenant        uuid.UUID
	ID            uuid.UUID
	Kind          string
	Attributes    map[string]any
	FirstSeen     time.Time
	LastSeen      time.Time
	EventCount    int64
	TrackCount    int64
	PageCount     int64
	IdentifyCount int64
	AttributesAt  time.Time
	Version       int64
	CreatedAt     time.Time
	MergedInto    uuid.UUID
}

// Identifier is an identifier's whole life; the last span is the present one.
type Identifier struct {
	Tenant uuid.UUID
	Node   uuid.UUID
	Kind   string
	Value  string
	Spans  []Span
}

// Span is a time in which an identifier belonged to a profile.
type Span struct {
	From    time.Time
	Profile uuid.UUID
	Version int64
}

// Merge is one profile gone into another.
type Merge struct {
	Tenant        uuid.UUID
	Winner, Loser uuid.UUID
	Cause         string
	Kind          string
	WinnerBefore  Profile
	LoserBefore   Profile
	Identifiers   []uuid.UUID
	Orders        []string
}

// Conflict is one thing that was refused.
type Conflict struct {
	Tenant    uuid.UUID
	MessageID string
	Profile   uuid.UUID
	Reason    string
	Node      uuid.UUID
	LimitKind string
	Other     uuid.UUID
}

// Change is one row of lineage.
type Change struct {
	Tenant  uuid.UUID
	Profile uuid.UUID
	Version int64
	Path    string
	Op      string
	Old     any // Absent where there was nothing
	New     any
	Cause   string
	Kind    string
	At      time.Time
}

// OrderKey names an order or a product.
type OrderKey struct {
	Tenant uuid.UUID
	ID     string
}

// Model is the whole state.
type Model struct {
	Settings    map[uuid.UUID]event.Settings
	Profiles    map[uuid.UUID]*Profile
	Identifiers map[uuid.UUID]*Identifier
	Orders      map[OrderKey]*Order
	Products    map[OrderKey]*Product
	Merges      []Merge
	Conflicts   []Conflict
	Lineage     []Change

	seen    map[string]bool
	created map[string]time.Time // last created_at by lane

	event     Event
	conflicts []Conflict // of the event at hand
}

// New is an empty model. A tenant without settings has the defaults.
func New(settings map[uuid.UUID]event.Settings) *Model {
	return &Model{
		Settings:    settings,
		Profiles:    map[uuid.UUID]*Profile{},
		Identifiers: map[uuid.UUID]*Identifier{},
		Orders:      map[OrderKey]*Order{},
		Products:    map[OrderKey]*Product{},
		seen:        map[string]bool{},
		created:     map[string]time.Time{},
	}
}

// Apply does what one event says. A message id that was there before does nothing.
func (m *Model) Apply(e Event) {
	key := e.Tenant.String() + " " + e.MessageID
	if m.seen[key] {
		return
	}
	m.seen[key] = true
	m.event, m.conflicts = e, nil

	p := m.resolve()
	p.Version++
	p.EventCount++
	switch e.Type {
	case event.Identify:
		p.IdentifyCount++
	case event.Track:
		p.TrackCount++
	case event.Page:
		p.PageCount++
	}
	if e.At.Before(p.FirstSeen) {
		p.FirstSeen = e.At
	}
	if e.At.After(p.LastSeen) {
		p.LastSeen = e.At
	}
	m.attributes(p)
	m.orders(p)

	for _, c := range m.conflicts {
		c.Profile = p.ID
		m.Conflicts = append(m.Conflicts, c)
	}
}

func (m *Model) limit(kind string) int {
	s, ok := m.Settings[m.event.Tenant]
	if !ok {
		s = event.DefaultSettings()
	}
	return s.Limit(kind)
}

func (m *Model) conflict(reason string, node uuid.UUID, limitKind string, other uuid.UUID) {
	m.conflicts = append(m.conflicts, Conflict{Tenant: m.event.Tenant, MessageID: m.event.MessageID,
		Reason: reason, Node: node, LimitKind: limitKind, Other: other})
}
