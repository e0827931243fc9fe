package event

import (
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Erasure is a piece of an identifier's history that is gone for good (ADR 3): what it did while it was
// the erased person's, up to a time. It holds nothing of the person: the identifier is told by its node.
type Erasure struct {
	From  time.Time `json:"from,omitzero"`  // received_at from which on it was theirs; zero: since ever
	Until time.Time `json:"until,omitzero"` // received_at at which it became somebody else's; zero: it was theirs to the end
	At    time.Time `json:"at"`             // the last event time that is erased, in whole milliseconds, as ClickHouse has them
}

// Forever is the At of an erasure after which nothing of an identifier is taken again.
var Forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Covers tells whether an event is erased that names the identifier. Whose a device was is told by when
// its events were received. One that comes later than it happened, as by a backfill, goes by its event time
// too, unless it names somebody: then it is theirs.
func (e Erasure) Covers(at, receivedAt time.Time, verified bool) bool {
	at = at.Truncate(time.Millisecond) // so that ClickHouse's rows say the same
	if at.After(e.At) {
		return false
	}
	late := at.Before(receivedAt.Truncate(time.Millisecond))
	return e.within(receivedAt) || late && !verified && e.within(at)
}

func (e Erasure) within(t time.Time) bool {
	return !t.Before(e.From) && (e.Until.IsZero() || t.Before(e.Until))
}

// End is when the identifier is free of it.
func (e Erasure) End() time.Time {
	if e.Until.IsZero() {
		return e.At.Add(time.Millisecond)
	}
	return e.Until
}

// Erasures are all of one identifier's.
type Erasures []Erasure

// Covers tells whether one of them covers an event.
func (all Erasures) Covers(at, receivedAt time.Time, verified bool) bool {
	for _, e := range all {
		if e.Covers(at, receivedAt, verified) {
			return true
		}
	}
	return false
}

// Start is the end of the last one that an event received then comes after; zero: there is none. Who is
// new on the identifier then, is so from there on.
func (all Erasures) Start(receivedAt time.Time) (start time.Time) {
	for _, e := range all {
		if end := e.End(); !end.After(receivedAt) && end.After(start) {
			start = end
		}
	}
	return start
}

// With is all of them and one more, unless it is there.
func (all Erasures) With(e Erasure) Erasures {
	if slices.ContainsFunc(all, e.equal) {
		return all
	}
	return append(slices.Clone(all), e)
}

func (e Erasure) equal(o Erasure) bool {
	return e.From.Equal(o.From) && e.Until.Equal(o.Until) && e.At.Equal(o.At)
}

// RebornID is the profile of an identifier that was somebody's who is erased, and is new from start on.
// It is not the node's id, which names the erased one; and is the same after a replay.
func RebornID(node uuid.UUID, start time.Time) uuid.UUID {
	return uuid.NewSHA1(node, strconv.AppendInt([]byte("erased\x1f"), start.UnixMicro(), 10))
}

// GraveID is the profile, one for each tenant, into which the erased ones went and which has the
// identifiers that are nobody's. There is nothing of anybody in it.
func GraveID(tenant uuid.UUID) uuid.UUID { return NodeID(tenant, "erased", "") }

// Erase takes out of a change what concerns profiles that are erased. Products are nobody's.
func (c *Change) Erase(gone func(profile uuid.UUID) bool) (changed bool) {
	if gone(c.ProfileID) {
		changed = c.Profile != nil || len(c.Identifiers)+len(c.Merges)+len(c.Lineage)+len(c.Orders) > 0
		c.Profile, c.Identifiers, c.Merges, c.Lineage, c.Orders = nil, nil, nil, nil, nil
		return changed
	}
	before := len(c.Merges)
	c.Merges = slices.DeleteFunc(c.Merges, func(m Merge) bool { return gone(m.WinnerID) || gone(m.LoserID) })
	return len(c.Merges) < before
}
