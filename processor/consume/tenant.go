package consume

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Tenants knows the tenants' settings. internal/control is one.
type Tenants interface {
	// Settings are those of the tenants among ids that exist.
	Settings(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]*event.Settings, error)
}

// tenants caches settings. A tenant that is not there is asked for every time: it may have been
// made a second ago, and its events must not end as dead letters.
type tenants struct {
	source Tenants
	ttl    time.Duration
	mu     sync.Mutex
	known  map[uuid.UUID]known
}

type known struct {
	settings *event.Settings
	until    time.Time
}

func newTenants(source Tenants, ttl time.Duration) *tenants {
	return &tenants{source: source, ttl: ttl, known: map[uuid.UUID]known{}}
}

// settings are those of the tenants among ids that exist. Settings that could not be refreshed are
// an error: two workers must not disagree for longer than the cache's time.
func (t *tenants) settings(ctx context.Context, ids map[uuid.UUID]struct{}) (map[uuid.UUID]*event.Settings, error) {
	found := make(map[uuid.UUID]*event.Settings, len(ids))
	var ask []uuid.UUID
	now := time.Now()
	t.mu.Lock()
	for id := range ids {
		if k, ok := t.known[id]; ok && now.Before(k.until) {
			found[id] = k.settings
		} else {
			ask = append(ask, id)
		}
	}
	t.mu.Unlock()
	if len(ask) == 0 {
		return found, nil
	}
	fresh, err := t.source.Settings(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("load tenants: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range fresh {
		found[id] = s
		t.known[id] = known{s, now.Add(t.ttl)}
	}
	return found, nil
}
