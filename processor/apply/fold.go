package apply

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/order"
)

// Run applies events, in this order, to the state (spec 2.3 to 2.7), and says what changed; or
// what must be loaded first. processedAt becomes updated_at of what changes.
func Run(st *State, events []Event, processedAt time.Time) (*Result, *Missing) {
	f := newFold(st, processedAt)
	for i := range events {
		if len(st.Gone) > 0 && st.Erases(&events[i]) {
			f.result.Erased++
			continue
		}
		f.apply(&events[i])
	}
	if lacking := f.graph.Missing(); len(lacking) > 0 {
		m := &Missing{}
		for _, p := range lacking {
			m.Profiles = append(m.Profiles, ProfileKey{p.Tenant, p.ID})
		}
		return nil, m
	}
	return f.finish(), nil
}

// Erases tells whether an event is one of somebody's who is erased. Whoever names them does: what else it
// says is lost with it.
func (st *State) Erases(e *Event) bool {
	verified := len(e.IDs.Verified) > 0
	for _, list := range [...][]event.Identifier{e.IDs.Anonymous, e.IDs.Verified} {
		for i := range list {
			if st.Gone[list[i].Node].Covers(e.At, e.ReceivedAt, verified) {
				return true
			}
		}
	}
	return false
}

// fold is one Run.
type fold struct {
	*State
	graph       *identity.Graph
	processedAt time.Time
	limits      attribute.Limits

	event *Event // at hand
	claim identity.Claim

	orders   map[OrderKey]struct{}    // changed
	ordersOf map[uuid.UUID][]OrderKey // whose each is, or was; nil until a merge asks: most batches have none
	products map[ProductKey]uuid.UUID // changed, and by whose event
	gone     []*identity.Profile      // tombstones made, in the order of the log
	result   Result
}

func newFold(st *State, processedAt time.Time) *fold {
	st.init()
	f := &fold{
		State:       st,
		processedAt: processedAt,
		limits:      attribute.DefaultLimits(),
		orders:      map[OrderKey]struct{}{},
		products:    map[ProductKey]uuid.UUID{},
	}
	f.graph = identity.New(identity.Loaded{
		Identifiers:   st.Identifiers,
		Profiles:      st.Profiles,
		Spans:         st.Spans,
		OrderOwners:   st.orderOwners,
		Gone:          st.Gone,
		LastCreatedAt: st.LastCreatedAt,
	}, f.merge)
	return f
}

// init makes the maps that a store which found nothing may leave nil.
func (st *State) init() {
	if st.Identifiers == nil {
		st.Identifiers = map[uuid.UUID]*identity.Identifier{}
	}
	if st.Profiles == nil {
		st.Profiles = map[uuid.UUID]*identity.Profile{}
	}
	if st.Orders == nil {
		st.Orders = map[OrderKey]*event.OrderState{}
	}
	if st.Products == nil {
		st.Products = map[ProductKey]*event.ProductState{}
	}
}

func (st *State) orderOwners(yield func(uuid.UUID) bool) {
	for _, o := range st.Orders {
		if !yield(o.ProfileID) {
			return
		}
	}
}

var defaultSettings = event.DefaultSettings()

// apply is one event. It answers whose it is.
func (f *fold) apply(e *Event) *identity.Profile {
	f.event = e
	if f.claim.Settings == nil || f.claim.Tenant != e.Tenant {
		if f.claim.Settings = f.Settings[e.Tenant]; f.claim.Settings == nil {
			f.claim.Settings = &defaultSettings
		}
	}
	f.claim.Tenant, f.claim.MessageID, f.claim.IDs = e.Tenant, e.MessageID, &e.IDs
	f.claim.At, f.claim.ReceivedAt = e.At, e.ReceivedAt

	p := f.graph.Resolve(&f.claim)
	f.graph.Touch(p)
	p.Version++
	p.UpdatedAt = f.processedAt
	count(p, e)
	f.attributes(p)
	n := e.scan()
	if n.order != "" {
		f.order(p, n.order)
	}
	for i := range n.products {
		f.product(p, &n.products[i])
	}
	return p
}

func count(p *identity.Profile, e *Event) {
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
}

func (f *fold) order(p *identity.Profile, id string) {
	e := f.event
	key := OrderKey{e.Tenant, id}
	o := f.Orders[key]
	if o == nil {
		o = &event.OrderState{OrderID: id}
		f.Orders[key] = o
	}
	former := o.ProfileID
	if !order.Apply(o, order.Input{Name: e.Name, Payload: e.Payload, At: e.At, Profile: p.ID}) {
		return
	}
	f.orders[key] = struct{}{}
	if o.ProfileID == former {
		return
	}
	if f.ordersOf != nil {
		f.ordersOf[p.ID] = append(f.ordersOf[p.ID], key)
	}
	p.Orders++
	if former != uuid.Nil {
		q := f.graph.Profile(former)
		q.Orders--
		f.graph.Touch(q)
	}
}

func (f *fold) product(p *identity.Profile, from *event.ProductState) {
	key := ProductKey{f.event.Tenant, from.ProductID}
	known := f.Products[key]
	if known == nil {
		known = &event.ProductState{ProductID: from.ProductID}
		f.Products[key] = known
	}
	if order.Provision(known, *from) {
		f.products[key] = p.ID
	}
}
