package event

import (
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
)

// Change is one record of TopicChanges: all that one batch of the processor changed about one
// profile. Key: the profile's id. Every part carries a version (or a key of its own), so the column
// store keeps the highest and a record that comes again does no harm.
type Change struct {
	TenantID    uuid.UUID         `json:"tenant_id"`
	ProfileID   uuid.UUID         `json:"profile_id"`
	Profile     *ProfileState     `json:"profile,omitempty"`
	Identifiers []IdentifierState `json:"identifiers,omitempty"`
	Merges      []Merge           `json:"merges,omitempty"`
	Lineage     []AttributeChange `json:"lineage,omitempty"`
	Orders      []OrderState      `json:"orders,omitempty"`
	Products    []ProductState    `json:"products,omitempty"`
}

// Headers of a record in TopicChanges: the position in the log of the batch that made it. Within
// one partition of TopicChanges and one source partition they never go back but for a record that
// is produced again after a crash, so a reader that remembers the highest (offset, sequence) it has
// taken of each source knows a repetition.
const (
	HeaderSourceTopic     = "source_topic"
	HeaderSourcePartition = "source_partition" // decimal
	HeaderSourceOffset    = "source_offset"    // decimal: the next offset after the batch
	HeaderSequence        = "sequence"         // decimal: 0, 1, … within the batch
)

// ProfileState is a profile after the batch. A collapsed one has MergedInto set and is no longer
// live; its counters, identifiers and orders have gone to the winner.
type ProfileState struct {
	Kind          string          `json:"kind"` // shadow or anchor
	Attributes    json.RawMessage `json:"attributes"`
	FirstSeen     time.Time       `json:"first_seen"`
	LastSeen      time.Time       `json:"last_seen"`
	EventCount    int64           `json:"event_count"`
	TrackCount    int64           `json:"track_count"`
	PageCount     int64           `json:"page_count"`
	IdentifyCount int64           `json:"identify_count"`
	AttributesAt  time.Time       `json:"attributes_at,omitzero"`
	Version       int64           `json:"version"`
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at,omitzero"` // absent in a merge's record of a profile the event itself made
	MergedInto    uuid.UUID       `json:"merged_into,omitzero"`
}

// IdentifierState is one span of an identifier's life: from ValidFrom (zero: since ever) until its
// next span, what it did is ProfileID's.
type IdentifierState struct {
	Node      uuid.UUID `json:"node"`
	Kind      string    `json:"kind"`
	Value     string    `json:"value"`
	ProfileID uuid.UUID `json:"profile_id"`
	ValidFrom time.Time `json:"valid_from,omitzero"`
	Version   int64     `json:"version"`
}

// Merge is one collapse or merge, with what it takes to undo it.
type Merge struct {
	MergeID          uuid.UUID         `json:"merge_id"`
	WinnerID         uuid.UUID         `json:"winner_id"`
	LoserID          uuid.UUID         `json:"loser_id"`
	Cause            string            `json:"cause"`               // message id
	Kind             string            `json:"kind"`                // collapse (shadow into anchor) or merge
	EventTime        time.Time         `json:"event_time,omitzero"` // of the cause
	MergedAt         time.Time         `json:"merged_at"`
	Winner           ProfileState      `json:"winner"` // before
	Loser            ProfileState      `json:"loser"`  // before
	MovedIdentifiers []IdentifierState `json:"moved_identifiers"`
	MovedOrders      []string          `json:"moved_orders"`
}

// AttributeChange is one row of lineage: one leaf that changed.
type AttributeChange struct {
	Version     int64           `json:"version"` // of the profile, after the change
	Index       int             `json:"index"`   // 0, 1, … within the version
	Path        string          `json:"path"`    // RFC 6901 pointer
	Op          string          `json:"op"`      // add, update, replace, union, append, remove
	Old         json.RawMessage `json:"old,omitempty"`
	New         json.RawMessage `json:"new,omitempty"`
	Cause       string          `json:"cause"`      // message id; of an unmerge, the merge's id
	CauseKind   string          `json:"cause_kind"` // event, merge or unmerge
	EventTime   time.Time       `json:"event_time"`
	ProcessedAt time.Time       `json:"processed_at"`
}

// OrderState is an order after the batch. Money is exact decimal text; empty where never given.
type OrderState struct {
	OrderID     string      `json:"order_id"`
	ProfileID   uuid.UUID   `json:"profile_id"`
	Status      string      `json:"status"` // incomplete, completed, cancelled, refunded
	Items       []OrderItem `json:"items"`
	Total       string      `json:"total,omitempty"`
	Currency    string      `json:"currency,omitempty"`
	Tax         string      `json:"tax,omitempty"`
	Shipping    string      `json:"shipping,omitempty"`
	Discount    string      `json:"discount,omitempty"`
	Coupon      string      `json:"coupon,omitempty"`
	FirstEvent  time.Time   `json:"first_event"`
	LastEvent   time.Time   `json:"last_event"`
	CompletedAt time.Time   `json:"completed_at,omitzero"`
	Version     int64       `json:"version"`
}

// OrderItem is one line of an order.
type OrderItem struct {
	ProductID string `json:"product_id"`
	Quantity  string `json:"quantity"` // exact decimal text
	Price     string `json:"price,omitempty"`
	Name      string `json:"name,omitempty"`
	Category  string `json:"category,omitempty"`
}

// ProductState is a product as far as events tell: a skeleton until a catalogue fills it.
type ProductState struct {
	ProductID string    `json:"product_id"`
	Name      string    `json:"name,omitempty"`
	Price     string    `json:"price,omitempty"`
	Category  string    `json:"category,omitempty"`
	Skeleton  bool      `json:"skeleton"`
	FirstSeen time.Time `json:"first_seen"`
	Version   int64     `json:"version"`
}
