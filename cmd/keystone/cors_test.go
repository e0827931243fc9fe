package main

import (
	"net/http"
	"testing"
)

// readable is what a page could read of an answer.
type readable struct {
	Status                int
	RetryAfter, RequestID string
	Error                 string
}

// TestBrowserCORS asks the edge from pages of another site, in Chromium: what the Fetch standard
// lets a page do with the answers decides, not our reading of it.
func TestBrowserCORS(t *testing.T) {
	browser(t)
	d := startDev(t, lived(t))
	f, shop := newFront(t, d.EdgeURL, nil), newSite(t)
	tracker := func(args ...string) string {
		return d.createKey(t, append([]string{"--scope", "tracker"}, args...)...)
	}
	ours, theirs := tracker("--origin", shop.url), tracker("--origin", "https://elsewhere.example")
	once := tracker("--rate", "0.01", "--burst", "1")
	const event = `{"anonymous_id":"cors","event_type":"page"}`
	post := func(key string, more ...string) map[string]any {
		headers := map[string]string{"X-API-Key": key, "Content-Type": "application/json"}
		for i := 0; i < len(more); i += 2 {
			headers[more[i]] = more[i+1]
		}
		return map[string]any{"method": "POST", "headers": headers, "body": event}
	}
	with := func(init map[string]any, name string, value any) map[string]any {
		init[name] = value
		return init
	}
	const blocked = -1
	requests := []struct {
		Name      string         `json:"name"`
		URL       string         `json:"url"`
		Init      map[string]any `json:"init"`
		Sandboxed bool           `json:"sandboxed"`
		status    int
		retry     bool
	}{
		{Name: "an event", URL: "/ingest", Init: post(d.TrackerKey), status: 200},
		{Name: "with credentials", URL: "/ingest", Init: with(post(d.TrackerKey), "credentials", "include"), status: 200},
		{Name: "any header", URL: "/ingest", Init: post(d.TrackerKey, "X-Some-Day", "1", "Rsa-Recovered", "1"), status: 200},
		{Name: "a simple request", URL: "/ingest?key=" + d.TrackerKey, Init: map[string]any{"method": "POST", "body": event, "credentials": "include"}, status: 200},
		{Name: "from the key's origin", URL: "/ingest", Init: post(ours), status: 200},
		{Name: "from another origin", URL: "/ingest", Init: post(theirs), status: blocked},
		{Name: "from no origin", URL: "/ingest", Init: post(d.TrackerKey), Sandboxed: true, status: 200},
		{Name: "from no origin, credentials", URL: "/ingest", Init: with(post(d.TrackerKey), "credentials", "include"), Sandboxed: true, status: 200},
		{Name: "from no origin, where one is listed", URL: "/ingest", Init: post(ours), Sandboxed: true, status: blocked},
		{Name: "unknown key", URL: "/ingest", Init: post("ks_trk_nobody"), status: 401},
		{Name: "a bad event", URL: "/ingest", Init: with(post(d.TrackerKey), "body", "{}"), status: 400},
		{Name: "a form", URL: "/ingest", Init: post(d.TrackerKey, "Content-Type", "text/css"), status: 415},
		{Name: "the batch endpoint", URL: "/ingest/batch", Init: post(d.TrackerKey), status: 403},
		{Name: "nothing there", URL: "/nowhere", Init: map[string]any{}, status: 404},
		{Name: "another method", URL: "/ingest", Init: map[string]any{}, status: 405},
		{Name: "the one event allowed", URL: "/ingest", Init: post(once), status: 200},
		{Name: "one more", URL: "/ingest", Init: with(post(once), "credentials", "include"), status: 429, retry: true},
		{Name: "settings", URL: "/v1/projects/" + d.TrackerKey + "/settings", Init: map[string]any{}, status: 200},
		{Name: "the tracker", URL: "/v1/js/tracker.js", Init: map[string]any{}, status: 200},
	}
	for i := range requests {
		requests[i].URL = f.URL + requests[i].URL
	}
	answers := map[string]readable{}
	browse(t, "fetches", map[string]any{"shop": shop.url + "/shop.html", "requests": requests}, &answers)
	for _, r := range requests {
		a := answers[r.Name]
		switch {
		case r.status == blocked && (a.Error == "" || a.Status != 0):
			t.Errorf("%s: the page could read %+v", r.Name, a)
		case r.status != blocked && a.Status != r.status:
			t.Errorf("%s: %+v, want %d", r.Name, a, r.status)
		case a.Status != 0 && !r.Sandboxed && a.RequestID == "" && r.Name != "the tracker":
			t.Errorf("%s: the page cannot read X-Request-Id", r.Name)
		case r.retry != (a.RetryAfter != ""):
			t.Errorf("%s: Retry-After is %q to the page", r.Name, a.RetryAfter)
		}
	}
	wantVary(t, f)
	d.settle(t)
	if got := d.sql(t, "SELECT count() FROM events WHERE anonymous_id = 'cors'")[0]; got != "8" {
		t.Errorf("%s events, want 8: what was blocked must not be taken", got)
	}

	browse(t, "leave", map[string]any{
		"shop": shop.url + "/shop.html", "bye": shop.url + "/bye.html", "host": f.URL, "key": d.TrackerKey, "device": "left",
	}, &struct{}{})
	d.await(t, 3, "anonymous_id = 'left'")
}

// wantVary wants every answer to say that it depends on the origin, unless anybody may read it, and
// credentials never with "*".
func wantVary(t *testing.T, f *front) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
		for _, s := range f.requests(method) {
			allow, credentials, vary := s.answer.Get("Access-Control-Allow-Origin"), s.answer.Get("Access-Control-Allow-Credentials"), s.answer.Get("Vary")
			if allow == "*" && credentials != "" || allow != "*" && (len(vary) < 6 || vary[:6] != "Origin") {
				t.Errorf("%s %s: %d %v", s.method, s.path, s.status, s.answer)
			}
		}
	}
}
