package access

import (
	"testing"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// A migration may put a view of before on a new one. A login of before is refused it until the refresh, and not after.
func TestRefreshAfterMigrations(t *testing.T) {
	r := newRig(t)
	m, err := schema.New(r.server.NativeDSN(), schema.Engines{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.DownTo(t.Context(), 32); err != nil {
		t.Fatal(err)
	}
	a, password := r.analyst("ann", DefaultLimits())
	views := []string{"sessions_in", "top_pages", "live_traffic", "identity_quality", "product_performance"}
	readable := func(view string) (string, bool) {
		return r.http(a.Name, password, "SELECT count() FROM "+view+"(tenant = '"+tenantA.String()+"', since = '2026-01-01 00:00:00', until = '2027-01-01 00:00:00')", nil)
	}
	for _, view := range views {
		if text, ok := readable(view); !ok {
			t.Errorf("%s before the migrations: %s", view, text)
		}
	}
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, view := range views {
		if text, ok := readable(view); ok {
			t.Errorf("%s is readable before the refresh, and docs/upgrade.md says it is not: %s", view, text)
		}
	}
	if err := r.file.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, view := range views {
		if text, ok := readable(view); !ok {
			t.Errorf("%s after the refresh: %s", view, text)
		}
	}
}
