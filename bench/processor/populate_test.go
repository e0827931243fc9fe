package processor_test

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/event"
)

// populate puts visitors of former days into the state store, past the processor: what it would have
// written of them, in one piece.
func (r *bench) populate(n int) error {
	devices := make([]string, n)
	for i := range devices {
		devices[i] = fmt.Sprintf("visitor-of-september-%d", i)
	}
	if err := r.visitors(devices); err != nil {
		return err
	}
	_, err := r.pool.Exec(r.Context(), "VACUUM ANALYZE")
	return err
}

// introduce makes every second device of a stream one that was there before.
func (r *bench) introduce(cfg shop.Config) error {
	stream, err := shop.New(cfg)
	if err != nil {
		return err
	}
	settings := event.DefaultSettings()
	var e event.Event
	var ids event.Identifiers
	known := map[string]bool{}
	var devices []string
	for body, d := range stream.All() {
		if d.Invalid != "" {
			continue
		}
		if err := e.Decode(body, event.DefaultLimits()); err != nil {
			return err
		}
		e.Identifiers(r.tenant, &settings, &ids)
		for _, id := range ids.Anonymous {
			if _, met := known[id.Value]; !met {
				known[id.Value] = len(known)%2 == 0
				if known[id.Value] {
					devices = append(devices, id.Value)
				}
			}
		}
	}
	return r.visitors(devices)
}

// visitors were there in September, four times, and nobody knows their names.
func (r *bench) visitors(devices []string) error {
	seen := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	node := func(i int) uuid.UUID { return event.NodeID(r.tenant, event.KindAnonymous, devices[i]) }
	for _, table := range []struct {
		name    string
		columns []string
		row     func(i int) []any
	}{
		{"profiles", []string{"tenant_id", "profile_id", "kind", "attributes", "first_seen", "last_seen", "event_count", "track_count", "page_count",
			"identify_count", "attributes_at", "version", "created_at", "updated_at", "owned", "spans", "orders"},
			func(i int) []any {
				at := seen.Add(time.Duration(i) * time.Millisecond)
				return []any{r.tenant, node(i), "shadow", "{}", at, at, 4, 0, 4, 0, time.Time{}, 4, at, at, event.KindAnonymous + "=1", 0, 0}
			}},
		{"identifiers", []string{"tenant_id", "node_id", "kind", "value", "profile_id", "valid_from", "version"},
			func(i int) []any {
				return []any{r.tenant, node(i), event.KindAnonymous, devices[i], node(i), time.Time{}, 1}
			}},
		{"message_ids", []string{"message_hash", "expires_at"},
			func(i int) []any {
				return []any{uuid.NewSHA1(r.tenant, []byte("the last message of "+devices[i])), seen.AddDate(1, 0, 0)}
			}},
	} {
		if _, err := r.pool.CopyFrom(r.Context(), pgx.Identifier{table.name}, table.columns, pgx.CopyFromSlice(len(devices), func(i int) ([]any, error) {
			return table.row(i), nil
		})); err != nil {
			return fmt.Errorf("fill %s: %w", table.name, err)
		}
	}
	return nil
}
