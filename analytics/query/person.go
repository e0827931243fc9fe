package query

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"
	"github.com/google/uuid"
)

// PersonEvent is one event of a person: what they or their browser sent, and what was added to it.
type PersonEvent struct {
	MessageID   string          `json:"message_id"`
	EventType   string          `json:"event_type"`
	EventName   string          `json:"event_name,omitempty"`
	AnonymousID string          `json:"anonymous_id,omitempty"`
	Identity    string          `json:"identity,omitempty"` // text, or the text of a JSON object of kinds
	Timestamp   time.Time       `json:"timestamp"`          // event time
	ReceivedAt  time.Time       `json:"received_at"`
	IP          string          `json:"ip,omitempty"`
	UserAgent   string          `json:"user_agent,omitempty"`
	Payload     json.RawMessage `json:"payload"`
	Context     json.RawMessage `json:"context"`
	Extra       json.RawMessage `json:"extra"` // members without a column
}

// PersonEvents are all events of a person as of now, oldest first: what they did before they were
// known as well. An error ends the sequence.
func PersonEvents(ctx context.Context, conn driver.Conn, tenant, profile uuid.UUID) iter.Seq2[PersonEvent, error] {
	return func(yield func(PersonEvent, error) bool) {
		rows, err := conn.Query(ctx, `
SELECT message_id, event_type, event_name, anonymous_id, identity, timestamp, received_at, ip, user_agent, payload, context, extra
FROM person_events(tenant = $1, profile = $2)
ORDER BY timestamp, received_at, topic, partition, offset`, tenant, profile)
		if err != nil {
			yield(PersonEvent{}, fmt.Errorf("read the person's events: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var e PersonEvent
			var payload, context, extra string
			if err := rows.Scan(&e.MessageID, &e.EventType, &e.EventName, &e.AnonymousID, &e.Identity, &e.Timestamp, &e.ReceivedAt,
				&e.IP, &e.UserAgent, &payload, &context, &extra); err != nil {
				yield(PersonEvent{}, fmt.Errorf("read the person's events: %w", err))
				return
			}
			e.Payload, e.Context, e.Extra = json.RawMessage(payload), json.RawMessage(context), json.RawMessage(extra)
			if !yield(e, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(PersonEvent{}, fmt.Errorf("read the person's events: %w", err))
		}
	}
}
