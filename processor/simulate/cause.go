package simulate

import (
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/identity"
)

// Cause is a message that one side's rules follow and the other's do not.
type Cause struct {
	MessageID string `json:"message_id"`
	// Refused is why the other side did not. Empty: it was not refused, the identifier was not read,
	// or went elsewhere before.
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is the reason of a conflict, and the kind of identifiers whose limit was the reason.
type Refusal struct {
	Reason    identity.Reason `json:"reason"`
	LimitKind string          `json:"limit_kind,omitempty"`
}

// explain finds the causes of differences.
func explain(all []*Difference, current, proposed *Outcome) {
	byCurrent, byNew := gather(all, func(d *Difference) []Profile { return d.Current }, current), gather(all, func(d *Difference) []Profile { return d.New }, proposed)
	currentlyRefused, newlyRefused := refusals(current.Conflicts), refusals(proposed.Conflicts)
	for n, d := range all {
		d.CurrentJoins = causes(needed(byCurrent[n], current, proposed), newlyRefused)
		d.NewJoins = causes(needed(byNew[n], proposed, current), currentlyRefused)
	}
}

// gather finds the joins within the profiles of each difference, in log order.
func gather(all []*Difference, profiles func(*Difference) []Profile, o *Outcome) [][]Join {
	of := map[uuid.UUID]int{}
	for n, d := range all {
		for _, p := range profiles(d) {
			of[p.ID] = n
		}
	}
	joins := make([][]Join, len(all))
	for _, j := range o.Joins {
		if n, ok := of[o.Owners[j.Node]]; ok {
			joins[n] = append(joins[n], j)
		}
	}
	return joins
}

// needed are those joins that bring together what the other side keeps apart. What it does not know
// at all is apart from everything, and the join that made a profile of it is needed too.
func needed(joins []Join, mine, others *Outcome) []Join {
	apart := func(node uuid.UUID) uuid.UUID {
		if p, ok := others.Owners[node]; ok {
			return p
		}
		return node // no profile of theirs has this id: its identifier would be there
	}
	// A set for each profile of mine: what is together in one is not together in another.
	together := map[uuid.UUID]sets{}
	return slices.DeleteFunc(slices.Clone(joins), func(j Join) bool {
		if j.Node == j.With {
			_, known := others.Owners[j.Node]
			return known
		}
		profile := mine.Owners[j.Node]
		if together[profile] == nil {
			together[profile] = sets{}
		}
		return !together[profile].unite(apart(j.Node), apart(j.With))
	})
}

// causes are the messages of joins, each once, with what the other side refused of them.
func causes(joins []Join, refused map[string][]Refusal) (all []Cause) {
	seen := map[string]bool{}
	for _, j := range joins {
		if !seen[j.Message] {
			seen[j.Message] = true
			all = append(all, Cause{MessageID: j.Message, Refused: refused[j.Message]})
		}
	}
	return all
}

// refusals are the conflicts that keep people apart, by message.
func refusals(conflicts []identity.Conflict) map[string][]Refusal {
	all := map[string][]Refusal{}
	for i := range conflicts {
		c := &conflicts[i]
		r := Refusal{c.Reason, c.LimitKind}
		if c.Reason != identity.AttributeLimit && !slices.Contains(all[c.MessageID], r) {
			all[c.MessageID] = append(all[c.MessageID], r)
		}
	}
	return all
}
