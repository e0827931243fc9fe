package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// serverSDK is an SDK as node-sdks.mjs names it.
type serverSDK struct {
	name string
	// Jitsu's has no alias and no screen.
	browserLike bool
}

var serverSDKs = []serverSDK{{"segment-3", false}, {"segment-2", false}, {"segment-legacy", false}, {"rudder", false}, {"jitsu", true}}

// TestServerSDKs points every server SDK, as it comes from npm, at one running pipeline.
func TestServerSDKs(t *testing.T) {
	sdksDir(t)
	d := startDev(t, lived(t))
	t.Run("journey", func(t *testing.T) { testJourneys(t, d) })
	t.Run("retry", func(t *testing.T) { testRetries(t, d) })
	t.Run("large", func(t *testing.T) { testLargeEvents(t, d) })
}

// testJourneys drives a visitor's journey through each, and wants the same person, order and rows.
// SDKs send their batches in parallel, so the events' order differs from run to run; what comes out
// must not.
func testJourneys(t *testing.T, d *dev) {
	for _, s := range serverSDKs {
		if out, err := drive(t, "node.mjs", s.name, d.EdgeURL, d.IntegrationKey, "journey"); err != nil {
			t.Fatalf("%s: %v %s", s.name, err, out)
		}
	}
	d.settle(t)
	profiles, orders := d.export(t, "profiles"), d.export(t, "orders")
	for _, s := range serverSDKs {
		t.Run(s.name, func(t *testing.T) {
			counts := map[string]string{"kind": "anchor", "event_count": "9", "page_count": "4", "track_count": "2", "identify_count": "1"}
			devices := []string{"device-" + s.name, "tablet-" + s.name}
			if s.browserLike {
				counts["event_count"], counts["page_count"] = "6", "2"
				devices = devices[:1]
			}
			counts["attributes"] = fmt.Sprintf("map[email:%s@shop.example groups:map[acme:map[seats:7]] name:Ann plan:gold]", s.name)
			person := personOf(t, profiles, "user-"+s.name)
			want(t, person, counts)
			wantIdentifiers(t, person, "user-"+s.name, s.name+"@shop.example", devices)
			want(t, find(t, orders, "order_id", "order-"+s.name), map[string]string{
				"status": "completed", "total": "219.98", "currency": "USD", "profile_id": fmt.Sprint(person["profile_id"])})
			d.wantRows(t, person, counts["event_count"])
		})
	}
	wantProducts(t, d)
}

// personOf is the live profile that owns a user id.
func personOf(t *testing.T, profiles []map[string]any, userID string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, p := range profiles {
		if slices.Contains(identifiersOf(p), "crm_id="+userID) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d profiles own %s in %v", len(found), userID, profiles)
	}
	return found[0]
}

func identifiersOf(profile map[string]any) []string {
	var ids []string
	list, _ := profile["identifiers"].([]any)
	for _, id := range list {
		id := id.(map[string]any)
		ids = append(ids, fmt.Sprint(id["kind"], "=", id["value"]))
	}
	slices.Sort(ids)
	return ids
}

func wantIdentifiers(t *testing.T, person map[string]any, userID, email string, devices []string) {
	t.Helper()
	exp := []string{"crm_id=" + userID, "email=" + email}
	for _, d := range devices {
		exp = append(exp, "anonymous="+d)
	}
	slices.Sort(exp)
	if got := identifiersOf(person); !slices.Equal(got, exp) {
		t.Errorf("identifiers: %v, want %v", got, exp)
	}
}

// wantRows wants a person's events in ClickHouse, each message id once.
func (d *dev) wantRows(t *testing.T, person map[string]any, n string) {
	t.Helper()
	got := d.sql(t, fmt.Sprintf("SELECT count(), uniqExact(message_id), countIf(message_id = '') FROM events_resolved WHERE profile_id = '%s'", person["profile_id"]))
	if exp := n + "\t" + n + "\t0"; len(got) != 1 || got[0] != exp {
		t.Errorf("rows of %s: %q, want %q", person["profile_id"], got, exp)
	}
}

func wantProducts(t *testing.T, d *dev) {
	t.Helper()
	products := d.export(t, "products")
	for _, id := range []string{"P-1", "P-2"} {
		find(t, products, "product_id", id)
	}
}

// retryRun is one SDK sending a burst through one failure.
type retryRun struct {
	fails, sdk string
	key        string
	fault      func(n int) fault
	refused    int // the failure's status; 0: none is answered
}

func (r retryRun) name() string { return r.fails + "-" + r.sdk }

// repeating are the SDKs that repeat a request. Jitsu's repeats nothing.
var repeating = []string{"segment-3", "segment-2", "segment-legacy", "rudder"}

// testRetries breaks what lies between an SDK and the edge, and wants nothing lost and nothing
// counted twice.
func testRetries(t *testing.T, d *dev) {
	const events = 40 // three batches, in parallel
	var runs []retryRun
	for _, sdk := range repeating {
		runs = append(runs,
			// The edge has taken the batch: the SDK sends it again, under the same message ids.
			retryRun{"lost", sdk, d.IntegrationKey, func(n int) fault { return fault{lost: n == 0 || n == 2} }, 0},
			retryRun{"503", sdk, d.IntegrationKey, func(n int) fault { return refuse(n < 2, 503) }, 503},
			retryRun{"429", sdk, d.IntegrationKey, func(n int) fault { return refuse(n < 2, 429) }, 429})
	}
	for _, sdk := range []string{"segment-3", "rudder"} { // those that wait as long as Retry-After says
		slow := d.createKey(t, "--scope", "integration", "--rate", "10", "--burst", "1")
		runs = append(runs, retryRun{"limit", sdk, slow, nil, 429})
	}
	driven := drives(t, runs, func(t *testing.T, _ int, r retryRun) {
		f := newFront(t, d.EdgeURL, r.fault)
		if _, err := drive(t, "node.mjs", r.sdk, f.URL, r.key, "burst", fmt.Sprint(events), r.fails); err != nil {
			t.Errorf("the SDK reports a loss: %v", err)
		}
		if posts := f.requests(http.MethodPost); r.refused != 0 && !slices.ContainsFunc(posts, func(s seen) bool {
			return s.status == r.refused && s.answer.Get("Retry-After") != ""
		}) {
			t.Errorf("nothing of %d requests was refused", len(posts))
		}
	})
	if !driven {
		return
	}
	d.settle(t)
	for _, r := range runs {
		if got, exp := d.ticks(t, "device-"+r.sdk+r.fails), fmt.Sprintf("%d\t%d", events, events); got != exp {
			t.Errorf("%s: events and rows are %q, want %q", r.name(), got, exp)
		}
	}
}

func refuse(now bool, status int) fault {
	if !now {
		return fault{}
	}
	return fault{status: status, retryAfter: "1"}
}

// testLargeEvents: SDKs drop a whole batch on a 413, so the edge must answer none because of one
// event. What fits the log is taken, what does not is dropped alone. The legacy SDK refuses large
// events itself.
func testLargeEvents(t *testing.T, d *dev) {
	sdks := []string{"segment-3", "segment-2", "rudder"}
	for _, sdk := range sdks {
		for run, size := range map[string]string{"fits": "700000", "exceeds": "1100000"} {
			if _, err := drive(t, "node.mjs", sdk, d.EdgeURL, d.IntegrationKey, "large", size, run); err != nil {
				t.Errorf("%s, %s: the SDK reports a loss: %v", sdk, run, err)
			}
		}
	}
	d.settle(t)
	for _, sdk := range sdks {
		for run, large := range map[string]string{"fits": "1", "exceeds": "0"} {
			device := "device-" + sdk + run
			if got := d.ticks(t, device); got != "2\t2" {
				t.Errorf("%s: small events and rows are %q", device, got)
			}
			if got := d.sql(t, "SELECT count() FROM events WHERE event_name = 'Tock' AND anonymous_id = '"+device+"'"); got[0] != large {
				t.Errorf("%s: %s rows of the large one, want %s", device, got, large)
			}
		}
	}
}

// ticks are an SDK's distinct Tick events, and how many rows they have.
func (d *dev) ticks(t *testing.T, device string) string {
	t.Helper()
	return d.sql(t, "SELECT uniqExact(JSONExtractInt(payload, 'n')), count() FROM events WHERE event_name = 'Tick' AND anonymous_id = '"+device+"'")[0]
}
