package identity

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Reason says what was refused.
type Reason string

// The reasons of conflicts: a closed set, fit for a metric's label.
const (
	LinkLimit      Reason = "link_limit"      // an unowned identifier was not linked, and stays without an owner
	MergeLimit     Reason = "merge_limit"     // two profiles were not merged
	CollapseLimit  Reason = "collapse_limit"  // a shadow was not collapsed
	RelinkLimit    Reason = "relink_limit"    // a device was not relinked
	AttributeLimit Reason = "attribute_limit" // attributes of an event or a merge's loser were not merged
)

// Reasons lists them all.
var Reasons = [...]Reason{LinkLimit, MergeLimit, CollapseLimit, RelinkLimit, AttributeLimit}

// Conflict is one thing an event stated that was refused (spec 2.4, 2.6). The rest of the event
// counted for ProfileID.
type Conflict struct {
	Tenant     uuid.UUID
	ID         uuid.UUID // name-based: the same after a replay
	MessageID  string
	ProfileID  uuid.UUID // the profile the event is attributed to
	Reason     Reason
	Node       uuid.UUID // the identifier that stated it; uuid.Nil for attribute_limit
	Kind       string    // of that identifier
	Value      string    // of that identifier
	LimitKind  string    // the kind of identifiers whose limit would be exceeded; empty for attribute_limit
	Other      uuid.UUID // the other profile: not merged, not collapsed, still the owner; or uuid.Nil
	EventTime  time.Time
	ReceivedAt time.Time
}

// conflictID is the name-based UUID of an event's n-th conflict.
func conflictID(tenant uuid.UUID, messageID string, n int) uuid.UUID {
	name := make([]byte, 0, 192)
	name = append(name, "conflict\x1f"...)
	name = append(name, messageID...)
	name = append(name, 0x1f)
	name = strconv.AppendInt(name, int64(n), 10)
	return uuid.NewSHA1(tenant, name)
}
