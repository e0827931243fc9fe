package access

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	chgo "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/analytics"
)

// An eighth of what a login has by default, for an eighth of a month of eight million events.
const (
	smallMemory = 1 << 30 / 8
	smallMonth  = 8_000_000 / 8
)

// month is a month of tenant A: a person comes twice and does eight things in a second, most of them pages.
var month = strings.NewReplacer("{tenant}", tenantA.String(), "{events}", strconv.Itoa(smallMonth)).Replace(`
INSERT INTO events (tenant_id, message_id, profile_node, event_type, event_name, path, host, referrer, device_class,
	order_id, revenue, topic, partition, offset, timestamp, received_at)
SELECT
	'{tenant}', toString(number), reinterpret(sipHash128(intDiv(number, 16)), 'UUID'), number % 3 = 2 ? 'track' : 'page',
	number % 32 = 29 ? 'Order Completed' : '', number % 3 = 2 ? '' : '/products/' || toString(cityHash64(number) % 5), 'shop.example',
	'https://www.example.com/', 'desktop', number % 32 = 29 ? 'O-' || toString(number) : '', number % 32 = 29 ? 9.99 : NULL,
	'keystone.events', number % 4, intDiv(number, 4),
	toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + cityHash64(intDiv(number, 8)) % 2500000 + number % 8 / 10 AS at, at
FROM numbers({events})`)

// An analyst can ask every question of the cookbook about more than the login's memory holds: what is sorted
// and counted up goes to the engine's folder, and is gone afterwards.
func TestQuestionsLargerThanMemory(t *testing.T) {
	r := newRig(t)
	r.exec(month)
	limits := DefaultLimits()
	limits.MemoryBytes = smallMemory
	a, password := r.analyst("ann", limits)
	parameters := map[string]string{"tenant": tenantA.String(), "since": "2026-11-01 00:00:00", "until": "2026-12-01 00:00:00",
		"now": "2026-11-21 18:10:00", "email": "ann@example.com", "profile": "00000000-0000-5000-8000-0000000000a1"}
	for _, q := range analytics.Cookbook() {
		if text, ok := r.http(a.Name, password, q.SQL, parameters); !ok {
			t.Errorf("%s: %.300s", q.Title, text)
		}
	}
	// The analyst's own questions go to disk, too.
	if text, ok := r.http(a.Name, password, "SELECT count() FROM (SELECT * FROM events ORDER BY cityHash64(message_id) LIMIT 900000)", nil); !ok {
		t.Errorf("a large sort: %.300s", text)
	}
	r.exec("SYSTEM FLUSH LOGS")
	for _, part := range []string{"ExternalSortWritePart", "ExternalAggregationWritePart"} {
		if r.first("SELECT toString(sum(ProfileEvents['"+part+"'])) FROM system.query_log WHERE user = 'ann'") == "0" {
			t.Errorf("no question came to %s: there is nothing to see here", part)
		}
	}
	left, err := os.ReadDir(filepath.Join(r.dir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("of what went to disk is left: %v %v", left, err)
	}
}

// An analyst cannot unbind what binds the disk and the memory.
func TestSpillingIsFixed(t *testing.T) {
	r := newRig(t)
	a, password := r.analyst("ann", DefaultLimits())
	conn := r.login(a.Name, password)
	for _, setting := range []string{"max_temporary_data_on_disk_size_for_user", "max_bytes_before_external_sort", "max_bytes_before_external_group_by"} {
		var refused *chgo.Exception
		err := conn.Exec(t.Context(), "SELECT 1 SETTINGS "+setting+" = 0")
		if !errors.As(err, &refused) || refused.Code != settingIsConstant {
			t.Errorf("%s: %v, want code %d", setting, err, settingIsConstant)
		}
	}
}

const settingIsConstant = 452
