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
	number % 32 = 29 ? 'Order Completed' : '', number % 3 = 2 ? '' : '/products/' || toString(cityHash64(number) % 100), 'shop.example',
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
	// A session is not to be had without its order: the analyst's own questions go to disk, too.
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

// What goes to disk is bounded, and the analyst cannot unbind it.
func TestDiskIsBounded(t *testing.T) {
	r := newRig(t)
	const large = "SELECT count() FROM (SELECT randomString(1000) AS text FROM numbers(100000) ORDER BY text LIMIT 99999) WHERE NOT ignore(text)"
	settings := chgo.Settings{"max_bytes_before_external_sort": 4 << 20, "min_external_sort_block_bytes": 4 << 20, "max_block_size": 1000,
		"max_temporary_data_on_disk_size_for_user": 50_000_000}
	code := func(err error) int32 {
		var refused *chgo.Exception
		if !errors.As(err, &refused) {
			t.Fatalf("%v", err)
		}
		return refused.Code
	}
	if got := code(r.own.Exec(chgo.Context(t.Context(), chgo.WithSettings(settings)), large)); got != notEnoughSpace {
		t.Errorf("100 MB on a disk of 50: code %d", got)
	}
	settings["max_temporary_data_on_disk_size_for_user"] = 200_000_000
	if err := r.own.Exec(chgo.Context(t.Context(), chgo.WithSettings(settings)), large); err != nil {
		t.Errorf("100 MB on a disk of 200: %v", err)
	}
	a, password := r.analyst("ann", DefaultLimits())
	conn := r.login(a.Name, password)
	for _, setting := range []string{"max_temporary_data_on_disk_size_for_user", "max_bytes_before_external_sort", "max_bytes_before_external_group_by"} {
		if got := code(conn.Exec(t.Context(), "SELECT 1 SETTINGS "+setting+" = 0")); got != settingIsConstant {
			t.Errorf("%s: code %d", setting, got)
		}
	}
}

const (
	notEnoughSpace    = 243
	settingIsConstant = 452
)
