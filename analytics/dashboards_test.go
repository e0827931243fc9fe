package analytics

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// timeFilter is Grafana's for ClickHouse.
var timeFilter = regexp.MustCompile(`\$__timeFilter\((\w+)\)`)

// TestOperatorDashboards runs the SQL of the operators' dashboards, and wants the tracker's to count what
// docs/tracker.md says: the last report of each browser.
func TestOperatorDashboards(t *testing.T) {
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	conn, err := query.Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), `INSERT INTO events (tenant_id, message_id, anonymous_id, received_at, timestamp, context) VALUES
		('6ba7b810-9dad-11d1-80b4-00c04fd430c8', '1', 'a', now64(6) - 2, now64(3) - 2, '{"tracker":{"queued":5,"dropped":{"overflow":1}}}'),
		('6ba7b810-9dad-11d1-80b4-00c04fd430c8', '2', 'a', now64(6) - 1, now64(3) - 1, '{"tracker":{"queued":9,"dropped":{"overflow":3}}}'),
		('6ba7b810-9dad-11d1-80b4-00c04fd430c8', '3', 'b', now64(6) - 1, now64(3) - 1, '{"tracker":{"queued":1,"dropped":{}}}')`); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"identity", "tracker"} {
		text, err := os.ReadFile(filepath.Join("..", "deploy", "grafana", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ RawSQL string }
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				if target.RawSQL == "" {
					continue
				}
				ran++
				sql := timeFilter.ReplaceAllString(target.RawSQL, "$1 >= now() - 3600")
				var n uint64
				if err := conn.QueryRow(t.Context(), "SELECT count() FROM ("+sql+")").Scan(&n); err != nil {
					t.Errorf("%s: %s: %v", name, panel.Title, err)
				}
				if strings.HasPrefix(panel.Title, "Queued and lost") {
					var queued, lost uint64
					if err := conn.QueryRow(t.Context(), "SELECT sum(queued), sum(lost) FROM ("+sql+")").Scan(&queued, &lost); err != nil || queued != 10 || lost != 3 {
						t.Errorf("%s: %d queued, %d lost, %v", panel.Title, queued, lost, err)
					}
				}
			}
		}
		if ran == 0 {
			t.Errorf("%s has no SQL", name)
		}
	}
}
