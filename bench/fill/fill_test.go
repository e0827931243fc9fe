package fill

import (
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// What is in the tables is what the shop's books say, and a copy is the same of other people.
func TestShopAndCopies(t *testing.T) {
	dsn := enginetest.ClickHouse(t).NativeDSN
	schematest.Migrate(t, dsn)
	cfg := shop.DefaultConfig()
	cfg.Seed, cfg.Span = 7, 20*24*time.Hour
	const n = chapter + 3_000 // a chapter and some
	messages := Shop(t, dsn, uuid.New(), n, cfg)
	figures := func() (f [7]uint64) {
		t.Helper()
		conn, err := query.Open(dsn, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.QueryRow(t.Context(), `
SELECT count(), uniqExact(message_id), uniqExact(profile_id),
	(SELECT sum(event_count) FROM profiles FINAL), (SELECT count() FROM profiles FINAL), (SELECT count() FROM orders FINAL),
	countIf(abs(dateDiff('second', timestamp, received_at)) > 2)
FROM events_resolved`).Scan(&f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6]); err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := figures()
	if int(first[0]) != messages || messages < n*9/10 || first[0] != first[1] || first[0] != first[3] {
		t.Errorf("%d messages: %v", messages, first)
	}
	if first[2] != first[4] || first[2] < 1000 || first[5] == 0 {
		t.Errorf("the people of the events are not those of profiles: %v", first)
	}
	if first[6] == 0 || first[6] > first[0]/10 {
		t.Errorf("%d of %d events are late", first[6], first[0])
	}
	Copies(t, dsn, 3)
	if got := figures(); got[0] != 3*first[0] || got[1] != got[0] || got[2] != 3*first[2] || got[4] != 3*first[4] || got[5] != 3*first[5] {
		t.Errorf("three copies: %v, of one: %v", got, first)
	}
}
