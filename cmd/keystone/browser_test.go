package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
)

// browser finds Chromium. As root, "make sdks" installs it.
func browser(t *testing.T) string {
	t.Helper()
	sdksDir(t)
	path, err := exec.LookPath("chromium")
	missing(t, "chromium (make sdks)", err)
	return path
}

// site serves the shop's pages and the SDKs' bundles, from node_modules. Its name makes the shop
// another site than the edge at 127.0.0.1, not only another origin: browsers take .localhost to
// themselves.
type site struct{ url string }

func newSite(t *testing.T) site {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(sdksDir(t))))
	t.Cleanup(s.Close)
	return site{strings.Replace(s.URL, "127.0.0.1", "www.shop.example", 1)}
}

// browse runs a scenario of browser-scenarios.mjs and reads its answer into out.
func browse(t *testing.T, scenario string, in map[string]any, out any) {
	t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := driveWith(t, string(text), "browser.mjs", browser(t), scenario)
	if err != nil {
		t.Fatalf("%s: %v", scenario, err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%s: %v: %s", scenario, err, answer)
	}
}

// browserRun is one journey: an SDK as shop.mjs names it, and what fails on its way.
type browserRun struct {
	sdk, fails string
	fault      func(n int) fault
	limited    bool   // the key's own rate limit refuses
	asks       string // a header that its repetitions add; Chromium itself repeats what got no answer
}

func (r browserRun) name() string { return r.sdk + r.fails }

var browserRuns = []browserRun{
	{sdk: "segment-next"}, {sdk: "segment-batching"}, {sdk: "rudder-js"}, {sdk: "rudder-beacon"}, {sdk: "jitsu-js"},
	// Jitsu's repeats nothing, and what is sent by a page that is gone cannot be repeated.
	{sdk: "segment-next", fails: "-503", fault: func(n int) fault { return refuse(n < 2, 503) }, asks: "x-retry-count"},
	{sdk: "segment-next", fails: "-lost", fault: func(n int) fault { return fault{lost: n == 0 || n == 3} }},
	{sdk: "segment-next", fails: "-left", fault: func(int) fault { return fault{held: true} }},
	{sdk: "segment-next", fails: "-limit", limited: true, asks: "x-retry-count"},
	{sdk: "rudder-js", fails: "-503", fault: func(n int) fault { return refuse(n < 2, 503) }, asks: "rsa-retry-attempt"},
	{sdk: "rudder-js", fails: "-lost", fault: func(n int) fault { return fault{lost: n == 0 || n == 3} }},
	{sdk: "rudder-js", fails: "-left", fault: func(int) fault { return fault{held: true} }, asks: "rsa-recovered"},
	{sdk: "rudder-js", fails: "-limit", limited: true, asks: "rsa-retry-attempt"},
}

// TestBrowserSDKs drives a visitor's journey through every browser SDK in Chromium, on a page of
// another site, and wants the same person, order and rows of each, whatever fails on the way.
func TestBrowserSDKs(t *testing.T) {
	browser(t)
	d := startDev(t, lived(t))
	shop := newSite(t)
	devices := make([]string, len(browserRuns))
	if !drives(t, browserRuns, func(t *testing.T, i int, r browserRun) { devices[i] = r.drive(t, d, shop) }) {
		return
	}
	for i, r := range browserRuns {
		d.await(t, r.events(), "anonymous_id = '"+devices[i]+"'")
	}
	d.settle(t)
	profiles, orders := d.export(t, "profiles"), d.export(t, "orders")
	for i, r := range browserRuns {
		t.Run(r.name(), func(t *testing.T) { r.check(t, d, devices[i], profiles, orders) })
	}
	wantProducts(t, d)
}

// events are those of the journey. Jitsu has no alias.
func (r browserRun) events() int {
	if r.sdk == "jitsu-js" {
		return 7
	}
	return 8
}

// drive makes the journey and answers the visitor's device.
func (r browserRun) drive(t *testing.T, d *dev, shop site) string {
	host, key := d.EdgeURL, d.TrackerKey
	var f *front
	if r.fails != "" {
		f = newFront(t, d.EdgeURL, r.fault)
		host = f.URL
	}
	if r.limited {
		key = d.createKey(t, "--scope", "tracker", "--rate", "2", "--burst", "2")
	}
	var seen struct {
		Device   string
		Problems []string
		Cookies  int
	}
	browse(t, "journey", map[string]any{
		"shop": shop.url + "/shop.html", "bye": shop.url + "/bye.html", "sdk": r.sdk, "run": r.name(), "host": host, "key": key,
		"leave": r.fails == "-left",
		"hurry": strings.HasSuffix(r.sdk, "-batching") || strings.HasSuffix(r.sdk, "-beacon"),
	}, &seen)
	if seen.Device == "" || seen.Cookies > 0 || r.fails == "" && len(seen.Problems) > 0 {
		t.Errorf("the page says %+v", seen)
	}
	if f != nil {
		wantPreflights(t, f, shop, r.asks)
	}
	return seen.Device
}

func (r browserRun) check(t *testing.T, d *dev, device string, profiles, orders []map[string]any) {
	user, events, devices, group := "user-"+r.name(), fmt.Sprint(r.events()), []string{device, "tablet-" + r.name()}, ""
	if r.sdk == "jitsu-js" { // what it was told of a group, it says of the user from then on
		devices, group = devices[:1], " seats:7"
	}
	person := personOf(t, profiles, user)
	want(t, person, map[string]string{
		"kind": "anchor", "event_count": events, "page_count": "3", "track_count": "2", "identify_count": "1",
		"attributes": fmt.Sprintf("map[email:%s@shop.example groups:map[acme:map[seats:7]] name:Ann plan:gold%s]", r.name(), group)})
	wantIdentifiers(t, person, user, r.name()+"@shop.example", devices)
	want(t, find(t, orders, "order_id", "order-"+r.name()), map[string]string{
		"status": "completed", "total": "219.98", "currency": "USD", "profile_id": fmt.Sprint(person["profile_id"])})
	d.wantRows(t, person, events)
}

// wantPreflights wants every preflight answered as the Fetch standard has it, and one that asked for
// the header.
func wantPreflights(t *testing.T, f *front, shop site, header string) {
	t.Helper()
	var asked []string
	for _, s := range f.requests(http.MethodOptions) {
		names := s.header.Get("Access-Control-Request-Headers")
		asked = append(asked, names)
		for name, exp := range map[string]string{
			"Access-Control-Allow-Origin": shop.url, "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "86400",
			"Access-Control-Allow-Headers": names, "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
		} {
			if got := s.answer.Get(name); got != exp || s.status != http.StatusOK {
				t.Errorf("a preflight's %s is %q, want %q (%d %s)", name, got, exp, s.status, s.path)
			}
		}
	}
	if header != "" && !strings.Contains(strings.Join(asked, " "), header) {
		t.Errorf("no preflight asked for %s: %q", header, asked)
	}
}

// await waits until as many events have reached ClickHouse: what a page sends when it is left, no
// page can tell.
func (d *dev) await(t *testing.T, n int, where string) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		got := d.sql(t, "SELECT count() FROM events WHERE "+where)[0]
		if got == fmt.Sprint(n) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s events where %s, want %d: %q", got, where, n, d.sql(t, "SELECT event_type, event_name, message_id FROM events WHERE "+where))
		}
		<-time.After(50 * time.Millisecond)
	}
}
