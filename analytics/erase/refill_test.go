package erase

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/rollup"
)

// refilled is a connection on which a sink starts before every change: it adds what events has to the rollups.
type refilled struct {
	driver.Conn
	refill func(context.Context) error
}

func (c refilled) Exec(ctx context.Context, statement string, args ...any) error {
	if strings.HasPrefix(statement, "ALTER") {
		if err := c.refill(ctx); err != nil {
			return err
		}
	}
	return c.Conn.Exec(ctx, statement, args...)
}

// A sink that starts between two steps fills no rollup with what a step before has removed: neither a page that
// she alone opened, nor a touch.
func TestSinkStartsInBetween(t *testing.T) {
	dsn := migrated(t)
	sink := serve(t, dsn)
	w := world{t: t, set: setOf(t, sink), with: true}
	w.fill()
	between := serve(t, dsn)
	starts := make(chan struct{}, 1000)
	between.Wrap(func(c driver.Conn) driver.Conn {
		return refilled{c, func(ctx context.Context) error { starts <- struct{}{}; return rollup.Catch(ctx, sink) }}
	})
	if err := Remove(t.Context(), setOf(t, between), ann(), func(string, uint64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if len(starts) < 9 {
		t.Errorf("it started %d times", len(starts))
	}
	w.want(never(t))
}

// One that started before, and reads what is removed meanwhile, is waited for.
func TestRefillUnderWayIsWaitedFor(t *testing.T) {
	servers := open(t)
	w := world{t: t, set: setOf(t, servers), with: true}
	w.fill()
	local, refill := w.set.Local("page_days"), make(chan error)
	go func() {
		refill <- w.set.First().Exec(t.Context(), "INSERT INTO "+local+` SELECT tenant_id, toDate(timestamp) AS day, toString(host) AS host, path, topic, partition, groupBitmapState(toUInt64(offset))
FROM `+w.set.Local("events")+` WHERE event_type = 'page' AND device_class != 'bot' AND sleepEachRow(0.15) = 0 GROUP BY tenant_id, day, host, path, topic, partition`)
	}()
	for running := uint64(0); running == 0; {
		select {
		case err := <-refill:
			t.Fatalf("it ended before it was seen: %v", err)
		default:
		}
		if err := w.set.First().QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO "+local+" %'").Scan(&running); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(t.Context(), w.set, ann(), func(string, uint64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := <-refill; err != nil {
		t.Fatal(err)
	}
	w.want(never(t))
}

// What is no rollup's any more is hers all the same: who goes on finds her pages.
func TestHiddenAreFound(t *testing.T) {
	w := world{t: t, set: setOf(t, open(t)), with: true}
	w.fill()
	before, err := ann().pages(t.Context(), w.set)
	if err != nil || len(before) < 4 {
		t.Fatal(before, err)
	}
	r := &remover{Person: ann(), set: w.set}
	for range 2 {
		if err := r.hide(t.Context()); err != nil {
			t.Fatal(err)
		}
		after, err := ann().pages(t.Context(), w.set)
		if err != nil || !slices.Equal(after, before) {
			t.Errorf("her pages are %d, and were %d: %v", after, before, err)
		}
	}
	hidden, err := gather(w.set, func(conn driver.Conn) ([]uint64, error) {
		return numbers(t.Context(), conn, "SELECT toUInt64(offset) FROM "+w.set.Local("events")+" WHERE device_class = 'bot'")
	})
	if slices.Sort(hidden); err != nil || !slices.Equal(hidden, []uint64{0, 2, 4, 10, 26}) {
		t.Errorf("hidden are %d: %v", hidden, err)
	}
}
