package model

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

const (
	shadow = "shadow"
	anchor = "anchor"
)

// resolve says whose the event is (spec 2.3, 2.4).
func (m *Model) resolve() *Profile {
	anonymous, verified := m.event.IDs.Anonymous, m.event.IDs.Verified
	if len(verified) == 0 {
		if len(anonymous) == 1 {
			return m.onlyDevice(anonymous[0])
		}
		return m.twoDevices(anonymous[0], anonymous[1])
	}
	t := m.verified(verified)
	for _, a := range anonymous {
		owner := m.owner(a)
		switch {
		case owner == nil:
			m.link(t, a)
		case owner == t:
		case owner.Kind == shadow:
			if kind := m.tooMany(t, owner); kind != "" {
				m.conflict("collapse_limit", a.Node, kind, owner.ID)
			} else {
				m.merge(t, owner, "collapse")
			}
		default:
			m.relink(t, owner, a)
		}
	}
	return t
}

func (m *Model) onlyDevice(a event.Identifier) *Profile {
	if p := m.owner(a); p != nil {
		return p
	}
	return m.create(a, shadow)
}

// twoDevices is an alias of two devices; the second is the one that sent it.
func (m *Model) twoDevices(previous, device event.Identifier) *Profile {
	p, d := m.owner(previous), m.owner(device)
	switch {
	case p == nil && d == nil:
		d = m.create(device, shadow)
		m.link(d, previous)
		return d
	case p == nil:
		m.link(d, previous)
		return d
	case d == nil:
		if m.room(p, device.Kind) {
			m.give(device, p)
			return p
		}
		d = m.create(device, shadow)
	}
	switch {
	case p == d || p.Kind == anchor && d.Kind == anchor:
		return d
	case p.Kind == shadow && d.Kind == shadow:
		if kind := m.tooMany(p, d); kind != "" {
			m.conflict("merge_limit", previous.Node, kind, p.ID)
			return d
		}
		winner, loser := first(p, d)
		m.merge(winner, loser, "merge")
		return winner
	}
	if kind := m.tooMany(p, d); kind != "" {
		m.conflict("collapse_limit", previous.Node, kind, p.ID)
		return d
	}
	winner, loser := p, d
	if d.Kind == anchor {
		winner, loser = d, p
	}
	m.merge(winner, loser, "collapse")
	return winner
}

func (m *Model) verified(ids []event.Identifier) *Profile {
	var p *Profile // the owner of the first that has one
	for _, id := range ids {
		if p == nil {
			p = m.owner(id)
		}
	}
	var t *Profile
	switch {
	case p == nil:
		t = m.create(ids[0], anchor)
	case m.owner(ids[0]) != nil:
		t = p
	case m.room(p, ids[0].Kind):
		m.give(ids[0], p)
		t = p
	default:
		t = m.create(ids[0], anchor)
	}
	for _, id := range ids[1:] {
		switch q := m.owner(id); q {
		case nil:
			m.link(t, id)
		case t:
		default:
			if kind := m.tooMany(t, q); kind != "" {
				m.conflict("merge_limit", id.Node, kind, q.ID)
				continue
			}
			winner, loser := first(t, q)
			m.merge(winner, loser, "merge")
			t = winner
		}
	}
	return t
}

// first is who was created first.
func first(a, b *Profile) (*Profile, *Profile) {
	if a.CreatedAt.Before(b.CreatedAt) || a.CreatedAt.Equal(b.CreatedAt) && a.ID.String() < b.ID.String() {
		return a, b
	}
	return b, a
}

func (m *Model) owner(id event.Identifier) *Profile {
	i := m.Identifiers[id.Node]
	if i == nil {
		return nil
	}
	return m.Profiles[i.Spans[len(i.Spans)-1].Profile]
}

func (m *Model) create(id event.Identifier, kind string) *Profile {
	e := m.event
	at := e.ReceivedAt
	if last, ok := m.created[e.Lane]; ok && !at.After(last) {
		at = last.Add(time.Microsecond)
	}
	m.created[e.Lane] = at
	p := &Profile{Tenant: e.Tenant, ID: id.Node, Kind: kind, Attributes: map[string]any{},
		FirstSeen: e.At, LastSeen: e.At, CreatedAt: at}
	m.Profiles[p.ID] = p
	m.give(id, p)
	return p
}

func (m *Model) give(id event.Identifier, p *Profile) {
	m.Identifiers[id.Node] = &Identifier{Tenant: p.Tenant, Node: id.Node, Kind: id.Kind, Value: id.Value,
		Spans: []Span{{Profile: p.ID, Version: 1}}}
}

func (m *Model) link(p *Profile, id event.Identifier) {
	if !m.room(p, id.Kind) {
		m.conflict("link_limit", id.Node, id.Kind, uuid.Nil)
		return
	}
	m.give(id, p)
}

func (m *Model) relink(p, former *Profile, id event.Identifier) {
	if !m.room(p, id.Kind) {
		m.conflict("relink_limit", id.Node, id.Kind, former.ID)
		return
	}
	i := m.Identifiers[id.Node]
	last := i.Spans[len(i.Spans)-1]
	from := m.event.ReceivedAt
	if !from.After(last.From) {
		from = last.From.Add(time.Microsecond)
	}
	i.Spans = append(i.Spans, Span{From: from, Profile: p.ID, Version: last.Version + 1})
}

// Owned counts a profile's identifiers by kind.
func (m *Model) Owned(profile uuid.UUID) map[string]int {
	n := map[string]int{}
	for _, i := range m.Identifiers {
		if i.Spans[len(i.Spans)-1].Profile == profile {
			n[i.Kind]++
		}
	}
	return n
}

func (m *Model) room(p *Profile, kind string) bool { return m.Owned(p.ID)[kind] < m.limit(kind) }

// tooMany is the first kind of which two profiles together own too many.
func (m *Model) tooMany(p, q *Profile) string {
	a, b := m.Owned(p.ID), m.Owned(q.ID)
	for _, kind := range slices.Sorted(maps.Keys(a)) {
		if b[kind] > 0 && a[kind]+b[kind] > m.limit(kind) {
			return kind
		}
	}
	return ""
}

// merge moves all that loser has to winner (spec 2.5).
func (m *Model) merge(winner, loser *Profile, kind string) {
	r := Merge{Tenant: winner.Tenant, Winner: winner.ID, Loser: loser.ID, Cause: m.event.MessageID, Kind: kind,
		WinnerBefore: *winner, LoserBefore: *loser}
	r.WinnerBefore.Attributes = clone(winner.Attributes).(map[string]any)
	r.LoserBefore.Attributes = clone(loser.Attributes).(map[string]any)
	for _, i := range m.Identifiers {
		for n := range i.Spans {
			if s := &i.Spans[n]; s.Profile == loser.ID {
				s.Profile = winner.ID
				s.Version++
				r.Identifiers = append(r.Identifiers, i.Node)
			}
		}
	}
	slices.SortFunc(r.Identifiers, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	for key, o := range m.Orders {
		if o.Profile == loser.ID {
			o.Profile = winner.ID
			o.Version++
			r.Orders = append(r.Orders, key.ID)
		}
	}
	slices.Sort(r.Orders)
	m.Merges = append(m.Merges, r)

	winner.Version++
	m.absorb(winner, loser)
	winner.EventCount += loser.EventCount
	winner.TrackCount += loser.TrackCount
	winner.PageCount += loser.PageCount
	winner.IdentifyCount += loser.IdentifyCount
	if loser.FirstSeen.Before(winner.FirstSeen) {
		winner.FirstSeen = loser.FirstSeen
	}
	if loser.LastSeen.After(winner.LastSeen) {
		winner.LastSeen = loser.LastSeen
	}
	if loser.AttributesAt.After(winner.AttributesAt) {
		winner.AttributesAt = loser.AttributesAt
	}
	*loser = Profile{Tenant: loser.Tenant, ID: loser.ID, Kind: loser.Kind, Attributes: map[string]any{},
		FirstSeen: loser.FirstSeen, LastSeen: loser.LastSeen, CreatedAt: loser.CreatedAt,
		Version: loser.Version + 1, MergedInto: winner.ID}
	for _, t := range m.Profiles {
		if t.MergedInto == loser.ID {
			t.MergedInto = winner.ID
		}
	}
}
