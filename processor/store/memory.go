package store

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// memory is what a process remembers of what it committed: devices, products, message ids, and where
// its partitions stand. It is there to save reading, and is never trusted: what is written because of
// it is written only if the store's rows still are what it says (see optimistic.go). A message id it
// has was committed, and is so for good.
type memory struct {
	mu       sync.Mutex
	devices  *recent[uuid.UUID, device]
	products *recent[apply.ProductKey, product]
	messages *recent[uuid.UUID, struct{}] // by messageHash
	stands   map[place]standing
	wary     int // batches to come before which the store is asked for message ids
}

// device is a visitor nobody has a name for: a shadow with the one identifier that made it, the same
// id, and no attributes. That is who sends most events. Others come from several partitions, and are
// read each time.
type device struct {
	identity.Identifier
	profile identity.Profile
}

type place struct {
	topic     string
	partition int32
}

// standing is where a partition stood after the last batch.
type standing struct {
	epoch, next   int64
	lastCreatedAt time.Time
}

// Limits of the memory, in entries of a generation: some 100 MB together, when it is full.
const (
	rememberedDevices  = 100_000
	rememberedProducts = 10_000
	rememberedMessages = 200_000
)

// waryBatches is for how many batches after a repetition that it did not remember a process asks the
// store first.
const waryBatches = 64

func newMemory(seenFor time.Duration) *memory {
	return &memory{
		devices:  newRecent[uuid.UUID, device](rememberedDevices, 0),
		products: newRecent[apply.ProductKey, product](rememberedProducts, 0),
		messages: newRecent[uuid.UUID, struct{}](rememberedMessages, seenFor/2),
		stands:   map[place]standing{},
	}
}

func placeOf(c Claim) place { return place{c.Topic, c.Partition} }

// standing answers where b's partition stands, if it is known to stand where b begins.
func (m *memory) standing(b *Batch) (standing, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.stands[placeOf(b.Claim)]
	return l, ok && l.epoch == b.Claim.Epoch && l.next == b.Offset
}

// seen tells which of a batch's messages were committed by this process.
func (m *memory) seen(keys []messageKey) (known []bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known = make([]bool, len(keys))
	for i, k := range keys {
		_, known[i] = m.messages.get(k.hash)
	}
	return known
}

// repeated notes message ids that the store has and this process did not know of: they were counted
// elsewhere, or long ago. Where there is one there are more, as when a client sends a week's events again.
func (m *memory) repeated(hashes [][16]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, hash := range hashes {
		m.messages.put(hash, struct{}{})
	}
	m.wary = waryBatches
}

// repeating tells that there were repetitions not long ago. It counts batches.
func (m *memory) repeating() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wary == 0 {
		return false
	}
	m.wary--
	return true
}

// recall puts what it knows into l, and answers the keys of the rest.
func (m *memory) recall(l *rows) apply.Keys {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := apply.Keys{Orders: l.keys.Orders}
	l.identifiers, l.profiles = slices.Grow(l.identifiers, len(l.keys.Nodes)), slices.Grow(l.profiles, len(l.keys.Nodes))
	for _, k := range l.keys.Nodes {
		if d, ok := m.devices.get(k.Node); ok {
			l.identifiers = append(l.identifiers, d.Identifier)
			l.profiles = append(l.profiles, d.profile)
		} else {
			rest.Nodes = append(rest.Nodes, k)
		}
	}
	for _, k := range l.keys.Products {
		if p, ok := m.products.get(k); ok {
			l.addProduct(p)
		} else {
			rest.Products = append(rest.Products, k)
		}
	}
	return rest
}

// committed takes over what a batch left, read or written.
func (m *memory) committed(b *Batch, p *prepared, l *rows, r *apply.Result, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stands[placeOf(b.Claim)] = standing{epoch: b.Claim.Epoch, next: b.NextOffset, lastCreatedAt: r.LastCreatedAt}
	m.messages.turn(now)
	for _, k := range p.distinct {
		m.messages.put(k.hash, struct{}{})
	}
	m.devices.turn(now)
	for _, i := range r.Identifiers {
		m.devices.drop(i.Node)
	}
	for _, q := range r.Profiles {
		if d, ok := l.device(q); ok {
			m.devices.put(q.ID, d)
		} else {
			m.devices.drop(q.ID)
		}
	}
	m.products.turn(now)
	for i := range l.products {
		m.products.put(apply.ProductKey{Tenant: l.products[i].tenant, ID: l.products[i].ProductID}, l.products[i])
	}
	for _, q := range r.Products {
		key := apply.ProductKey{Tenant: q.Tenant, ID: q.ProductID}
		m.products.put(key, product{tenant: q.Tenant, ProductState: *q.ProductState, revision: l.productRevisions[key] + 1})
	}
}

// device is what to remember of a written profile, if it is one.
func (l *rows) device(p *identity.Profile) (device, bool) {
	if p.Kind != identity.Shadow || p.MergedInto != uuid.Nil || p.Spans > 0 || p.Owned.Total() != 1 || !p.Attributes.Empty() {
		return device{}, false
	}
	i := l.folded.Identifiers[p.ID]
	if _, erased := l.gone[p.ID]; erased || i == nil || i.ProfileID != p.ID {
		return device{}, false
	}
	d := device{Identifier: i.Settled(), profile: p.Settled()}
	d.Value = strings.Clone(d.Value) // it may be a piece of a fetch
	d.profile.Revision++
	return d, true
}

// forget is for a batch whose outcome contradicts the memory, or is not known.
func (m *memory) forget(b *Batch, keys *apply.Keys) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stands, placeOf(b.Claim))
	for _, k := range keys.Nodes {
		m.devices.drop(k.Node)
	}
	for _, k := range keys.Products {
		m.products.drop(k)
	}
}
