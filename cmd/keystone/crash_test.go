package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

const (
	crashUsers         = 400
	crashEventsPerUser = 50
	crashClients       = 16
)

// crashStream is one user's events in order: two devices, a login on each, traits that change, an
// order that goes through its life. What two partitions may do in either order commutes: the second
// device's login is older than all others and says nothing new.
func crashStream(user int) []string {
	rng := rand.New(rand.NewPCG(7, uint64(user)))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	email, order := fmt.Sprintf("user%d@example.com", user), fmt.Sprintf("order-%d", user)
	cities := []string{"Chicago", "Miami", "Berlin", "Kraków", "大阪"}
	var out []string
	for i := range crashEventsPerUser {
		head := fmt.Sprintf(`{"message_id":"u%d-%d","anonymous_id":"phone-%d","timestamp":%q`, user, i, user, at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339))
		second := fmt.Sprintf(`{"message_id":"u%d-%d","anonymous_id":"laptop-%d","timestamp":%q`, user, i, user, at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339))
		switch {
		case i == 12:
			out = append(out, head+fmt.Sprintf(`,"event_type":"identify","identity":%q,"payload":{"city":"Chicago","plan":"free"}}`, email))
		case i == 18:
			out = append(out, fmt.Sprintf(`{"message_id":"u%d-%d","anonymous_id":"laptop-%d","timestamp":"2025-12-31T00:00:00Z","event_type":"identify","identity":%q}`, user, i, user, email))
		case i > 12 && i%7 == 0:
			out = append(out, head+fmt.Sprintf(`,"event_type":"identify","identity":%q,"payload":{"city":%q,"visits":%d}}`, email, cities[rng.IntN(len(cities))], i))
		case i == 20:
			out = append(out, head+fmt.Sprintf(`,"event_type":"track","event_name":"Checkout Started","payload":{"order_id":%q,"products":[{"product_id":"P-%d","quantity":1,"price":19.99}]}}`, order, user%10))
		case i == 30:
			out = append(out, head+fmt.Sprintf(`,"event_type":"track","event_name":"Order Completed","payload":{"order_id":%q,"total":39.98,"currency":"EUR","products":[{"product_id":"P-%d","quantity":2,"price":19.99}]}}`, order, user%10))
		case i == 45 && user%5 == 0:
			out = append(out, head+fmt.Sprintf(`,"event_type":"track","event_name":"Order Refunded","payload":{"order_id":%q}}`, order))
		case i%3 == 0:
			out = append(out, second+`,"event_type":"page","event_name":"Shop"}`)
		default:
			out = append(out, head+`,"event_type":"page","event_name":"Shop"}`)
		}
	}
	return out
}

// sendAll sends every user's events in order, over several connections, again and again until each
// is acknowledged, whatever happens to the server. It counts the acknowledged ones.
func sendAll(ctx context.Context, d *dev, acked *atomic.Int64) error {
	streams := make([][]string, crashUsers)
	for u := range streams {
		streams[u] = crashStream(u)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for c := range crashClients {
		wg.Go(func() {
			for i := range crashEventsPerUser {
				for u := c; u < crashUsers; u += crashClients {
					if err := sendOne(ctx, d, streams[u][i]); err != nil {
						cancel(err)
						return
					}
					acked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func sendOne(ctx context.Context, d *dev, e string) error {
	for {
		a, err := d.post(ctx, "/ingest", d.TrackerKey, "application/json", []byte(e))
		switch {
		case err == nil && a.status == http.StatusOK:
			return nil
		case err == nil && a.status < 500 && a.status != http.StatusTooManyRequests:
			return fmt.Errorf("%s: %d %v", e, a.status, a.body)
		}
		select { // the server is down: a client backs off
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// state is everything that must not depend on crashes, in a form two runs share: profiles are named
// by their identifiers, and times of processing are left out.
func state(t *testing.T, d *dev) map[string][]string {
	t.Helper()
	names := map[string]string{}
	out := map[string][]string{}
	for _, p := range d.export(t, "profiles") {
		id := fmt.Sprint(p["profile_id"])
		if merged, ok := p["merged_into"]; ok && merged != nil {
			out["tombstones"] = append(out["tombstones"], "tombstone")
			continue
		}
		var ids []string
		for _, i := range p["identifiers"].([]any) {
			i := i.(map[string]any)
			ids = append(ids, fmt.Sprint(i["kind"], "=", i["value"]))
		}
		slices.Sort(ids)
		names[id] = strings.Join(ids, ",")
		for _, field := range []string{"profile_id", "created_at", "updated_at", "identifiers"} {
			delete(p, field)
		}
		out["profiles"] = append(out["profiles"], fmt.Sprint(names[id], " ", p))
	}
	for _, what := range []string{"orders", "products", "lineage", "merges"} {
		for _, row := range d.export(t, what) {
			if id, ok := row["profile_id"].(string); ok && names[id] != "" {
				row["profile_id"] = names[id]
			}
			for _, field := range []string{"created_at", "updated_at", "processed_at", "merged_at", "first_seen"} {
				delete(row, field)
			}
			if what == "lineage" { // two devices of one person take turns in any order
				delete(row, "version")
				delete(row, "index")
			}
			text := fmt.Sprint(row)
			if what == "merges" { // the states inside hold ids and times; who and why is what counts
				text = fmt.Sprint(row["kind"], " by ", row["cause"], " ", len(row["moved_identifiers"].([]any)))
			}
			out[what] = append(out[what], text)
		}
	}
	for _, rows := range out {
		slices.Sort(rows)
	}
	return out
}

// TestCrash kills the whole process, twice, while clients send 20 000 events and repeat what was
// not acknowledged. Edge, log, state store and column store then hold what a run without crashes
// holds, each event once.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	total := int64(crashUsers * crashEventsPerUser)

	calm := startDev(t, lived(t))
	var acked atomic.Int64
	if err := sendAll(t.Context(), calm, &acked); err != nil {
		t.Fatal(err)
	}
	calm.settle(t)
	exp := state(t, calm)
	calm.stop(t)
	if n := len(exp["profiles"]); n != crashUsers {
		t.Fatalf("the calm run has %d profiles, want %d", n, crashUsers)
	}

	dir := lived(t)
	d := startDev(t, dir)
	listen := strings.TrimPrefix(d.EdgeURL, "http://")
	client := *d // the clients keep their address and key over the restarts
	acked.Store(0)
	sent := make(chan error, 1)
	go func() { sent <- sendAll(t.Context(), &client, &acked) }()
	for _, at := range []int64{total / 4, total / 2} {
		waitFor(t, func() bool { return acked.Load() >= at })
		d.kill(t)
		d = startDev(t, dir, "--listen", listen)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	d.settle(t)
	checkLog(t, d, total)

	got := state(t, d)
	for _, what := range slices.Sorted(maps.Keys(exp)) {
		diff(t, what, got[what], exp[what])
	}
	count := strconv.FormatInt(total, 10)
	for query, exp := range map[string]string{
		"SELECT count(), uniqExact(message_id) FROM events":          count + "\t" + count,
		"SELECT sum(event_count) FROM profiles FINAL":                count,
		"SELECT count(), uniqExact(profile_id) FROM events_resolved": count + "\t" + strconv.Itoa(crashUsers),
		"SELECT count() FROM attribute_changes":                      strconv.Itoa(len(got["lineage"])),
		"SELECT count() FROM profile_merges":                         strconv.Itoa(len(got["merges"])),
		"SELECT count() FROM orders FINAL":                           strconv.Itoa(crashUsers),
		"SELECT countIf(status = 'refunded') FROM orders FINAL":      strconv.Itoa(crashUsers / 5),
		`SELECT count() FROM (SELECT profile_id, count() AS n FROM events_resolved GROUP BY 1) AS e
			FULL JOIN (SELECT profile_id, event_count AS n FROM profiles FINAL) AS p USING (profile_id) WHERE e.n != p.n`: "0",
	} {
		if got := strings.Join(d.sql(t, query), "|"); got != exp {
			t.Errorf("%s: got %q, want %q", query, got, exp)
		}
	}
	d.stop(t)
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * startTimeout)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("gave up waiting")
		}
		time.Sleep(5 * time.Millisecond) // polling a counter
	}
}

// diff reports the first rows in which two sorted lists differ.
func diff(t *testing.T, what string, got, exp []string) {
	t.Helper()
	if slices.Equal(got, exp) {
		return
	}
	t.Errorf("%s: %d rows, the calm run has %d", what, len(got), len(exp))
	count := map[string]int{}
	for _, r := range got {
		count[r]++
	}
	for _, r := range exp {
		count[r]--
	}
	shown := 0
	for _, r := range slices.Sorted(maps.Keys(count)) {
		if n := count[r]; n != 0 && shown < 6 {
			shown++
			t.Errorf("  %+d %s", n, r)
		}
	}
}

// checkLog wants every message in the log at least once: what was acknowledged is there.
func checkLog(t *testing.T, d *dev, total int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(d.Brokers...), kgo.ConsumeTopics(event.TopicEvents),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	seen := map[string]bool{}
	var e event.Event
	for int64(len(seen)) < total {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d messages in the log: %v", len(seen), total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if err := e.Decode(r.Value, event.DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			seen[string(e.MessageID)] = true
		})
	}
}
