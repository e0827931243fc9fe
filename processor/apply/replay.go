package apply

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Replay folds one tenant's log from nothing, event by event, by the rules of Run: for who asks what
// would become of people and has no store. All of the state stays in memory. Orders and products are
// left out: nothing about people depends on them.
type Replay struct {
	fold    *fold
	created map[string]time.Time // last created_at by lane
}

// Step is what one event did, beside linking and relinking what it names.
type Step struct {
	Profile   *identity.Profile // whom the event counts for
	Merges    []Merge           // in their order
	Conflicts []identity.Conflict
}

// NewReplay starts from nothing.
func NewReplay() *Replay {
	return &Replay{fold: newFold(&State{}, time.Time{}), created: map[string]time.Time{}}
}

// Apply is one event of a lane (partition of the log) under the settings of that time. It keeps what
// of the payload and traits went into attributes, so their memory must not be used again.
func (r *Replay) Apply(lane string, s *event.Settings, e *Event) Step {
	f := r.fold
	e.named = named{read: true} // no orders, no products
	f.claim.Tenant, f.claim.Settings = e.Tenant, s
	f.graph.LastCreatedAt = r.created[lane]
	p := f.apply(e)
	r.created[lane] = f.graph.LastCreatedAt
	step := Step{Profile: p, Merges: f.result.Merges, Conflicts: f.graph.Conflicts}
	// What a Run gathers for the store would grow for as long as the replay goes on.
	f.graph.Conflicts, f.result.Merges, f.result.Lineage, f.gone = nil, nil, nil, nil
	return step
}

// Identifiers are all that have an owner, by node, each with its present one. They are the replay's
// own: to be read.
func (r *Replay) Identifiers() map[uuid.UUID]*identity.Identifier { return r.fold.Identifiers }

// Profiles are all there ever were, by id, tombstones included. They are the replay's own: to be read.
func (r *Replay) Profiles() map[uuid.UUID]*identity.Profile { return r.fold.State.Profiles }
