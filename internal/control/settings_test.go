package control

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Who changes one setting while others change others undoes none of theirs.
func TestSettingsAtOnce(t *testing.T) {
	p, _ := newPlane(t)
	a := newTenant(t, p, "a")
	for round := range 25 {
		limits, start := map[string]int{}, make(chan struct{})
		var all sync.WaitGroup
		for i, kind := range []string{"email", "phone", "anonymous", "crm_id"} {
			limits[kind] = 10*round + i + 1
			text := fmt.Appendf(nil, `{"limits":{%q:%d}}`, kind, limits[kind])
			all.Go(func() {
				<-start
				before, after, err := p.ChangeSettings(t.Context(), a.ID, func(s event.Settings) (event.Settings, error) { return s.Overlay(text) })
				if want, _ := before.Overlay(text); err != nil || !reflect.DeepEqual(after, want) {
					t.Errorf("%s: from %+v to %+v, %v", kind, before, after, err)
				}
			})
		}
		close(start)
		all.Wait()
		if got, err := p.Tenant(t.Context(), "a"); err != nil || !reflect.DeepEqual(got.Settings.Limits, limits) {
			t.Fatalf("round %d: %v, %v; want %v", round, got.Settings.Limits, err, limits)
		}
	}
}

// A change that is not to be is none.
func TestSettingsRefused(t *testing.T) {
	p, _ := newPlane(t)
	a := newTenant(t, p, "a")
	no := errors.New("no")
	for _, of := range []struct {
		tenant uuid.UUID
		err    error
	}{{a.ID, no}, {uuid.New(), ErrUnknownTenant}} {
		if _, _, err := p.ChangeSettings(t.Context(), of.tenant, func(s event.Settings) (event.Settings, error) {
			s.DefaultRegion = "DE"
			return s, no
		}); !errors.Is(err, of.err) {
			t.Errorf("%v, want %v", err, of.err)
		}
	}
	if got, err := p.Tenant(t.Context(), "a"); err != nil || !reflect.DeepEqual(got.Settings, event.DefaultSettings()) {
		t.Errorf("%+v, %v", got.Settings, err)
	}
}
