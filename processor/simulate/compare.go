package simulate

import (
	"cmp"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Kind says how profiles under the two rules correspond: those that share identifiers, directly or
// over others, are one difference.
type Kind string

// The kinds of differences.
const (
	Merged    Kind = "merge"   // several profiles, one under the new rules
	Split     Kind = "split"   // one profile, several under the new rules
	Regrouped Kind = "regroup" // several, and several under the new rules, divided otherwise
	Changed   Kind = "change"  // one stays one, with other identifiers or under another id
	Appears   Kind = "appear"  // none of its identifiers is known under the current rules
	Vanishes  Kind = "vanish"  // none of its identifiers is known under the new rules
)

// Kinds lists them all, the gravest first.
var Kinds = [...]Kind{Merged, Split, Regrouped, Changed, Appears, Vanishes}

// Difference is some profiles under the current rules, what they are under the new ones, and why.
type Difference struct {
	Kind    Kind      `json:"kind"`
	Current []Profile `json:"current"`
	New     []Profile `json:"new"`
	// NewJoins are the messages by which the new rules bring together what the current ones do not,
	// CurrentJoins the other way round: no more of them than it takes, in log order.
	NewJoins     []Cause `json:"new_joins,omitempty"`
	CurrentJoins []Cause `json:"current_joins,omitempty"`
}

// ConflictChange is something that one side's rules refuse and the other's do not.
type ConflictChange struct {
	Appears   bool            `json:"appears"` // under the new rules; else it goes away
	MessageID string          `json:"message_id"`
	Reason    identity.Reason `json:"reason"`
	Kind      string          `json:"kind,omitempty"` // of the identifier that was refused
	Value     string          `json:"value,omitempty"`
	LimitKind string          `json:"limit_kind,omitempty"`
}

// Comparison is all that differs.
type Comparison struct {
	Differences []Difference     // by kind, then those with the most events first
	Conflicts   []ConflictChange // those that go away, then those that appear, in log order
}

// Compare holds two outcomes of one log against each other. It is pure, and symmetric: exchanging the
// outcomes exchanges merges and splits.
func Compare(current, proposed *Outcome) Comparison {
	all := components(current, proposed)
	explain(all, current, proposed)
	c := Comparison{Differences: make([]Difference, len(all))}
	for n, x := range all {
		c.Differences[n] = *x
	}
	slices.SortFunc(c.Differences, func(a, b Difference) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Kinds[:], a.Kind), slices.Index(Kinds[:], b.Kind)),
			cmp.Compare(b.events(), a.events()),
			identity.CompareIDs(a.first(), b.first()))
	})
	c.Conflicts = append(without(current.Conflicts, proposed.Conflicts, false), without(proposed.Conflicts, current.Conflicts, true)...)
	return c
}

// events is how many are concerned: those of the side that counts more.
func (d *Difference) events() int64 {
	var current, proposed int64
	for _, p := range d.Current {
		current += p.Events
	}
	for _, p := range d.New {
		proposed += p.Events
	}
	return max(current, proposed)
}

// first tells differences of one kind apart.
func (d *Difference) first() uuid.UUID {
	if len(d.Current) > 0 {
		return d.Current[0].ID
	}
	return d.New[0].ID
}

// components groups the profiles that share identifiers, and leaves out what is the same on both sides.
func components(current, proposed *Outcome) []*Difference {
	// A profile of one side may have the id of one of the other: sets are of current profiles, and
	// over names what the new ones are joined with.
	over, sets := map[uuid.UUID]uuid.UUID{}, sets{}
	for node, p := range proposed.Owners {
		c, ok := current.Owners[node]
		if !ok {
			continue
		}
		if o, ok := over[p]; ok {
			sets.unite(o, c)
		} else {
			over[p] = c
		}
	}
	found := map[uuid.UUID]*Difference{}
	var alone []*Difference
	for id, p := range current.Profiles {
		root := sets.find(id)
		if found[root] == nil {
			found[root] = &Difference{}
		}
		found[root].Current = append(found[root].Current, *p)
	}
	for id, p := range proposed.Profiles {
		if c, ok := over[id]; ok {
			d := found[sets.find(c)]
			d.New = append(d.New, *p)
		} else {
			alone = append(alone, &Difference{New: []Profile{*p}})
		}
	}
	all := slices.AppendSeq(alone, maps.Values(found))
	all = slices.DeleteFunc(all, (*Difference).nothing)
	for _, d := range all {
		d.finish()
	}
	return all
}

// nothing tells that both sides have the same profile. How many events count for it may differ: the
// difference that took them away says so.
func (d *Difference) nothing() bool {
	if len(d.Current) != 1 || len(d.New) != 1 {
		return false
	}
	a, b := &d.Current[0], &d.New[0]
	return a.ID == b.ID && slices.Equal(a.Identifiers, b.Identifiers)
}

func (d *Difference) finish() {
	largest := func(a, b Profile) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), identity.CompareIDs(a.ID, b.ID))
	}
	slices.SortFunc(d.Current, largest)
	slices.SortFunc(d.New, largest)
	switch a, b := len(d.Current), len(d.New); {
	case a == 0:
		d.Kind = Appears
	case b == 0:
		d.Kind = Vanishes
	case a == 1 && b == 1:
		d.Kind = Changed
	case b == 1:
		d.Kind = Merged
	case a == 1:
		d.Kind = Split
	default:
		d.Kind = Regrouped
	}
}

// sets is a union-find over ids. One that is in no set yet is its own.
type sets map[uuid.UUID]uuid.UUID

func (s sets) find(id uuid.UUID) uuid.UUID {
	for {
		up, ok := s[id]
		if !ok {
			return id
		}
		if next, ok := s[up]; ok {
			s[id] = next // halve the way
		}
		id = up
	}
}

// unite is false where they were one already.
func (s sets) unite(a, b uuid.UUID) bool {
	a, b = s.find(a), s.find(b)
	if a == b {
		return false
	}
	s[a] = b
	return true
}

// refusal is what makes two conflicts the same: profiles go by other ids under other rules.
type refusal struct {
	message, limitKind string
	reason             identity.Reason
	node               uuid.UUID
}

// without are the conflicts of a that b lacks.
func without(a, b []identity.Conflict, appears bool) (all []ConflictChange) {
	have := map[refusal]int{}
	for i := range b {
		have[refused(&b[i])]++
	}
	for i := range a {
		c := &a[i]
		if key := refused(c); have[key] > 0 {
			have[key]--
			continue
		}
		all = append(all, ConflictChange{Appears: appears, MessageID: c.MessageID, Reason: c.Reason, Kind: c.Kind, Value: c.Value, LimitKind: c.LimitKind})
	}
	return all
}

func refused(c *identity.Conflict) refusal {
	return refusal{c.MessageID, c.LimitKind, c.Reason, c.Node}
}

// rank puts the names of people before those of devices.
func rank(kind string) int {
	if kind == event.KindAnonymous {
		return 1
	}
	return 0
}
