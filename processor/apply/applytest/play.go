package applytest

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/model"
)

// ProcessedAt is the processing time of every batch that Play applies.
var ProcessedAt = time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)

// Play applies a log in batches. A batch ends before entry n where cut(n) says so, and where the
// lane changes.
func Play(settings map[uuid.UUID]*event.Settings, log []Entry, cut func(n int) bool) (*Store, error) {
	s := NewStore(settings)
	for n := 0; n < len(log); {
		lane := log[n].Lane
		batch := []apply.Event{log[n].Event}
		for n++; n < len(log) && log[n].Lane == lane && !cut(n); n++ {
			batch = append(batch, log[n].Event)
		}
		if _, err := s.Apply(lane, batch, ProcessedAt); err != nil {
			return nil, fmt.Errorf("apply the batch that ends before event %d: %w", n, err)
		}
	}
	return s, nil
}

// Singly cuts a log into batches of one event, Whole nowhere.
func Singly(int) bool { return true }

// Whole makes one batch of a log of one lane.
func Whole(int) bool { return false }

// PlayModel applies a log to the model.
func PlayModel(settings map[uuid.UUID]*event.Settings, log []Entry) *model.Model {
	values := map[uuid.UUID]event.Settings{}
	for tenant, s := range settings {
		values[tenant] = *s
	}
	m := model.New(values)
	for n := range log {
		m.Apply(ModelEvent(log[n].Lane, &log[n].Event))
	}
	return m
}
