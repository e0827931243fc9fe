package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	exportProfiles    = sql.Statement("export_profiles")
	exportIdentifiers = sql.Statement("export_identifiers")
	exportSpans       = sql.Statement("export_spans")
	exportMerges      = sql.Statement("export_merges")
	exportLineage     = sql.Statement("export_lineage")
	exportOrders      = sql.Statement("export_orders")
	exportOrdersOf    = sql.Statement("export_orders_of")
	exportProducts    = sql.Statement("export_products")
	exportConflicts   = sql.Statement("export_conflicts")
)

// ProfileRow is one profile as it is exported. A tombstone has merged_into, and nothing else that
// counts: the winner has it.
type ProfileRow struct {
	ProfileID     uuid.UUID       `json:"profile_id"`
	Kind          string          `json:"kind"` // shadow or anchor
	Attributes    json.RawMessage `json:"attributes"`
	Identifiers   []NameRow       `json:"identifiers"`
	FirstSeen     time.Time       `json:"first_seen"`
	LastSeen      time.Time       `json:"last_seen"`
	EventCount    int64           `json:"event_count"`
	TrackCount    int64           `json:"track_count"`
	PageCount     int64           `json:"page_count"`
	IdentifyCount int64           `json:"identify_count"`
	AttributesAt  *time.Time      `json:"attributes_at,omitempty"` // absent: no identify yet
	Version       int64           `json:"version"`
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
	MergedInto    *uuid.UUID      `json:"merged_into,omitempty"`
}

// NameRow is an identifier within its profile.
type NameRow struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// IdentifierRow is one span of an identifier: from valid_from (absent: since ever) to its next span,
// or until now, it is profile_id's.
type IdentifierRow struct {
	Node      uuid.UUID  `json:"node"`
	Kind      string     `json:"kind"`
	Value     string     `json:"value"`
	ProfileID uuid.UUID  `json:"profile_id"`
	ValidFrom *time.Time `json:"valid_from,omitempty"`
	Current   bool       `json:"current"` // false: a span that is over
	Version   int64      `json:"version"`
}

// LineageRow is one leaf of a profile's attributes that changed.
type LineageRow struct {
	ProfileID uuid.UUID `json:"profile_id"`
	event.AttributeChange
}

// OrderRow is an order. Amounts are JSON numbers with their exact decimal text.
type OrderRow struct {
	OrderID     string      `json:"order_id"`
	ProfileID   uuid.UUID   `json:"profile_id"`
	Status      string      `json:"status"` // incomplete, completed, cancelled, refunded
	Items       []ItemRow   `json:"items"`
	Total       json.Number `json:"total,omitempty"`
	Currency    string      `json:"currency,omitempty"`
	Tax         json.Number `json:"tax,omitempty"`
	Shipping    json.Number `json:"shipping,omitempty"`
	Discount    json.Number `json:"discount,omitempty"`
	Coupon      string      `json:"coupon,omitempty"`
	FirstEvent  time.Time   `json:"first_event"`
	LastEvent   time.Time   `json:"last_event"`
	CompletedAt *time.Time  `json:"completed_at,omitempty"`
	Version     int64       `json:"version"`
}

// ItemRow is one line of an order.
type ItemRow struct {
	ProductID string      `json:"product_id"`
	Quantity  json.Number `json:"quantity,omitempty"`
	Price     json.Number `json:"price,omitempty"`
	Name      string      `json:"name,omitempty"`
	Category  string      `json:"category,omitempty"`
}

// ProductRow is a product: a skeleton until a catalogue fills it.
type ProductRow struct {
	ProductID string      `json:"product_id"`
	Name      string      `json:"name,omitempty"`
	Price     json.Number `json:"price,omitempty"`
	Category  string      `json:"category,omitempty"`
	Skeleton  bool        `json:"skeleton"`
	FirstSeen time.Time   `json:"first_seen"`
	Version   int64       `json:"version"`
}

// ConflictRow is one thing an event stated that was refused.
type ConflictRow struct {
	ConflictID uuid.UUID  `json:"conflict_id"`
	MessageID  string     `json:"message_id"`
	ProfileID  uuid.UUID  `json:"profile_id"` // whom the event counts for
	Reason     string     `json:"reason"`
	Node       *uuid.UUID `json:"node,omitempty"` // the identifier that stated it
	Kind       string     `json:"kind,omitempty"`
	Value      string     `json:"value,omitempty"`
	LimitKind  string     `json:"limit_kind,omitempty"`       // whose limit would be exceeded
	Other      *uuid.UUID `json:"other_profile_id,omitempty"` // the profile that was not merged
	EventTime  time.Time  `json:"event_time"`
	ReceivedAt time.Time  `json:"received_at"`
}

// pages reads a table along its key, one statement per page: no transaction stays open while the
// caller is slow. load answers a page and moves the key it closes over.
func pages[T any](size int, load func() ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			rows, err := load()
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if len(rows) < size {
				return
			}
		}
	}
}

// read runs one statement and collects its rows.
func read[T any](ctx context.Context, s *Store, what string, scan func(r pgx.CollectableRow, row *T) error, text string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (row T, err error) {
		err = scan(r, &row)
		return row, err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return all, nil
}
