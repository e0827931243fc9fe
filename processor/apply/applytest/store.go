// Package applytest keeps the processor's state in memory, for tests: it loads for a batch exactly
// what the fold asks for and saves exactly what it answers, as processor/store does with SQL.
package applytest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// SpanKey names a closed span.
type SpanKey struct {
	Node uuid.UUID
	From time.Time
}

// Store is the state. Rows are copied on the way in and out; nothing survives a batch but what a
// row holds.
type Store struct {
	Settings    map[uuid.UUID]*event.Settings
	Profiles    map[uuid.UUID]identity.Profile
	Identifiers map[uuid.UUID]identity.Identifier
	Spans       map[SpanKey]identity.Span
	Orders      map[apply.OrderKey]event.OrderState
	Products    map[apply.ProductKey]event.ProductState
	Merges      []apply.Merge
	Conflicts   []identity.Conflict
	Lineage     []apply.Lineage

	Reruns     int // batches that had to load more
	MovedSpans int // closed spans that changed owner, batches later

	Undone map[uuid.UUID]bool // merges, by id

	seen    map[string]bool
	created map[string]time.Time
}

// NewStore is an empty store.
func NewStore(settings map[uuid.UUID]*event.Settings) *Store {
	return &Store{
		Settings:    settings,
		Profiles:    map[uuid.UUID]identity.Profile{},
		Identifiers: map[uuid.UUID]identity.Identifier{},
		Spans:       map[SpanKey]identity.Span{},
		Orders:      map[apply.OrderKey]event.OrderState{},
		Products:    map[apply.ProductKey]event.ProductState{},
		Undone:      map[uuid.UUID]bool{},
		seen:        map[string]bool{},
		created:     map[string]time.Time{},
	}
}

// Apply is one transaction: a batch of events of one lane (partition of the log). It answers what
// the fold answered, nil if every message was there before.
func (s *Store) Apply(lane string, batch []apply.Event, processedAt time.Time) (*apply.Result, error) {
	var events []apply.Event
	for _, e := range batch {
		if key := e.Tenant.String() + " " + e.MessageID; !s.seen[key] {
			s.Saw(e.Tenant, e.MessageID)
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	keys := apply.KeysOf(events)
	r, missing := apply.Run(s.Load(lane, keys, nil), events, processedAt)
	if missing != nil {
		s.Reruns++
		if r, missing = apply.Run(s.Load(lane, keys, missing), events, processedAt); missing != nil {
			return nil, fmt.Errorf("run again with all that was missing: %d profiles are still missing", len(missing.Profiles))
		}
	}
	return r, s.save(lane, r)
}

// Saw notes a message as one that was counted, for a state that was not made by Apply.
func (s *Store) Saw(tenant uuid.UUID, messageID string) { s.seen[tenant.String()+" "+messageID] = true }

// Load is the state that a batch of a lane starts from.
func (s *Store) Load(lane string, keys apply.Keys, missing *apply.Missing) *apply.State {
	l := loader{Store: s, st: &apply.State{
		Settings:      s.Settings,
		Identifiers:   make(map[uuid.UUID]*identity.Identifier, len(keys.Nodes)),
		Profiles:      make(map[uuid.UUID]*identity.Profile, len(keys.Nodes)),
		Orders:        make(map[apply.OrderKey]*event.OrderState, len(keys.Orders)),
		Products:      make(map[apply.ProductKey]*event.ProductState, len(keys.Products)),
		LastCreatedAt: s.created[lane],
	}}
	for _, k := range keys.Nodes {
		l.identifier(k.Node)
	}
	for _, k := range keys.Orders {
		l.order(k)
	}
	for _, k := range keys.Products {
		if p, ok := s.Products[k]; ok {
			l.st.Products[k] = &p
		}
	}
	if missing != nil {
		for _, p := range missing.Profiles {
			l.all(p.ID)
		}
	}
	return l.st
}

type loader struct {
	*Store
	st *apply.State
}

func (l *loader) identifier(node uuid.UUID) {
	if i, ok := l.Identifiers[node]; ok {
		l.st.Identifiers[node] = &i
		l.profile(i.ProfileID)
	}
}

func (l *loader) order(k apply.OrderKey) {
	if o, ok := l.Orders[k]; ok {
		o.Items = slices.Clone(o.Items)
		l.st.Orders[k] = &o
		l.profile(o.ProfileID)
	}
}

func (l *loader) profile(id uuid.UUID) {
	if _, ok := l.st.Profiles[id]; ok {
		return
	}
	p := l.Profiles[id]
	p, err := row(&p)
	if err != nil {
		panic(err) // the row went in through the same function
	}
	l.st.Profiles[id] = &p
}

// all loads what a profile owns.
func (l *loader) all(profile uuid.UUID) {
	for node, i := range l.Identifiers {
		if i.ProfileID == profile {
			l.identifier(node)
		}
	}
	for k, o := range l.Orders {
		if o.ProfileID == profile {
			l.order(k)
		}
	}
	for _, span := range l.Spans {
		if span.ProfileID == profile {
			l.st.Spans = append(l.st.Spans, &span)
		}
	}
}

func (s *Store) save(lane string, r *apply.Result) error {
	for _, p := range r.Profiles {
		saved, err := row(p)
		if err != nil {
			return err
		}
		s.Profiles[p.ID] = saved
	}
	for _, i := range r.Identifiers {
		s.Identifiers[i.Node] = identity.Identifier{Tenant: i.Tenant, Node: i.Node, Kind: i.Kind, Value: i.Value,
			ProfileID: i.ProfileID, ValidFrom: i.ValidFrom, Version: i.Version}
	}
	for _, x := range r.Spans {
		key := SpanKey{x.Node, x.ValidFrom}
		if _, ok := s.Spans[key]; ok {
			s.MovedSpans++
		}
		s.Spans[key] = identity.Span{Tenant: x.Tenant, Node: x.Node, Kind: x.Kind, Value: x.Value,
			ProfileID: x.ProfileID, ValidFrom: x.ValidFrom, Version: x.Version}
	}
	for _, o := range r.Orders {
		state := *o.OrderState
		state.Items = slices.Clone(state.Items)
		s.Orders[apply.OrderKey{Tenant: o.Tenant, ID: o.OrderID}] = state
	}
	for _, p := range r.Products {
		s.Products[apply.ProductKey{Tenant: p.Tenant, ID: p.ProductID}] = *p.ProductState
	}
	if err := s.redirect(r); err != nil {
		return err
	}
	s.Merges = append(s.Merges, r.Merges...)
	s.Conflicts = append(s.Conflicts, r.Conflicts...)
	s.Lineage = append(s.Lineage, r.Lineage...)
	s.created[lane] = r.LastCreatedAt
	return nil
}

// redirect is one statement over all tombstones: it sees none of its own changes.
func (s *Store) redirect(r *apply.Result) error {
	winners := map[uuid.UUID]uuid.UUID{}
	for _, d := range r.Redirects {
		if w, ok := s.Profiles[d.Winner]; !ok || w.MergedInto != uuid.Nil {
			return fmt.Errorf("redirect %s: %s is no live profile", d.Loser, d.Winner)
		}
		winners[d.Loser] = d.Winner
	}
	for _, p := range r.Profiles {
		if _, dead := winners[p.MergedInto]; dead {
			return fmt.Errorf("tombstone %s: it points at another", p.ID)
		}
	}
	for id, p := range s.Profiles {
		if w, ok := winners[p.MergedInto]; ok {
			p.MergedInto = w
			s.Profiles[id] = p
		}
	}
	return nil
}

// row is a profile as its row holds it: columns only, attributes and counts through their text.
func row(p *identity.Profile) (identity.Profile, error) {
	attributes, err := attribute.Parse(slices.Clone(p.Attributes.Text()))
	if err != nil {
		return identity.Profile{}, err
	}
	owned, err := identity.ParseCounts(p.Owned.String())
	if err != nil {
		return identity.Profile{}, err
	}
	return identity.Profile{
		Tenant: p.Tenant, ID: p.ID, Kind: p.Kind, Attributes: attributes,
		FirstSeen: p.FirstSeen, LastSeen: p.LastSeen,
		EventCount: p.EventCount, TrackCount: p.TrackCount, PageCount: p.PageCount, IdentifyCount: p.IdentifyCount,
		AttributesAt: p.AttributesAt, Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
		MergedInto: p.MergedInto, Owned: owned, Spans: p.Spans, Orders: p.Orders,
	}, nil
}

// Owner is the live profile that owns an identifier.
func (s *Store) Owner(node uuid.UUID) (identity.Profile, bool) {
	i, ok := s.Identifiers[node]
	if !ok {
		return identity.Profile{}, false
	}
	p, ok := s.Profiles[i.ProfileID]
	return p, ok
}

// Live are the profiles that are no tombstones, by id.
func (s *Store) Live() []identity.Profile {
	var live []identity.Profile
	for _, id := range slices.SortedFunc(maps.Keys(s.Profiles), identity.CompareIDs) {
		if p := s.Profiles[id]; p.MergedInto == uuid.Nil {
			live = append(live, p)
		}
	}
	return live
}
