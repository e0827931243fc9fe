package simulate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/identity"
)

// Outcome is who is who after a log, under one side's rules.
type Outcome struct {
	Profiles  map[uuid.UUID]*Profile  // live ones, by id
	Owners    map[uuid.UUID]uuid.UUID // the live profile of each identifier that has one, by node
	Conflicts []identity.Conflict     // in log order
	Joins     []Join                  // in log order; those that still hold
}

// Profile is a live profile with what it owns now. A device's former owners are not told.
type Profile struct {
	ID          uuid.UUID    `json:"profile_id"`
	Kind        string       `json:"kind"`
	Events      int64        `json:"events"`
	Identifiers []Identifier `json:"identifiers"` // verified ones first
}

// Identifier is a name of a person or a device, in normal form.
type Identifier struct {
	Node  uuid.UUID `json:"node"`
	Kind  string    `json:"kind"`
	Value string    `json:"value"`
}

// Join says that a message made an identifier the same person's as another: by a link, a relink, or
// a merge. Every identifier has a join with the one that its profile is named after, which is itself
// for the one that made the profile.
type Join struct {
	Message    string
	Node, With uuid.UUID
}

// NewOutcome is that of an empty log.
func NewOutcome() *Outcome {
	return &Outcome{Profiles: map[uuid.UUID]*Profile{}, Owners: map[uuid.UUID]uuid.UUID{}}
}

// Own gives an identifier to a live profile.
func (o *Outcome) Own(profile uuid.UUID, i Identifier) {
	p := o.Profiles[profile]
	p.Identifiers = append(p.Identifiers, i)
	o.Owners[i.Node] = profile
}

// sort takes the maps' order out of what was owned.
func (o *Outcome) sort() {
	for _, p := range o.Profiles {
		slices.SortFunc(p.Identifiers, func(a, b Identifier) int {
			return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), strings.Compare(a.Kind, b.Kind),
				strings.Compare(a.Value, b.Value), identity.CompareIDs(a.Node, b.Node))
		})
	}
}
