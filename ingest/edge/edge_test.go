package edge

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

const page = `{"anonymous_id":"a","event_type":"page"}`

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"))
}

// Every path, alias, status and code of the native side.
func TestStatuses(t *testing.T) {
	r := newRig(t, options{})
	deep := `{"anonymous_id":"a","event_type":"page","payload":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 65)
	batch := `{"events":[` + page + `]}`
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code, field              string
	}{
		{"one event", "POST", "/ingest", page, []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"its alias", "POST", "/api/ingest", page, []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"an integration key", "POST", "/ingest", page, []string{"X-API-Key", integrationKey}, 200, "", ""},
		{"basic", "POST", "/ingest", page, []string{"Authorization", basic(trackerKey)}, 200, "", ""},
		{"bearer", "POST", "/ingest", page, []string{"Authorization", "Bearer " + trackerKey}, 200, "", ""},
		{"write key", "POST", "/ingest", page, []string{"X-Write-Key", "id:" + trackerKey}, 200, "", ""},
		{"key in the query", "POST", "/ingest?key=" + trackerKey, page, []string{"Content-Type", "text/plain;charset=UTF-8"}, 200, "", ""},
		{"secret key in the query", "POST", "/ingest?key=" + integrationKey, page, nil, 403, "wrong_scope", ""},
		{"charset", "POST", "/ingest", page, []string{"X-API-Key", trackerKey, "Content-Type", "application/json; charset=utf-8"}, 200, "", ""},
		{"white space and a byte order mark", "POST", "/ingest", "\xef\xbb\xbf \n" + page + "\r\n", []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"doubled slashes", "POST", "//ingest", page, []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"doubled slashes inside", "POST", "/api//ingest", page, []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"trailing slash", "POST", "/ingest/", page, []string{"X-API-Key", trackerKey}, 200, "", ""},
		{"another case", "POST", "/Api/INGEST", page, []string{"X-API-Key", trackerKey}, 200, "", ""},

		{"no key", "POST", "/ingest", page, nil, 401, "missing_key", ""},
		{"unknown key", "POST", "/ingest", page, []string{"X-API-Key", "ks_trk_nobody"}, 401, "unknown_key", ""},
		{"endless key", "POST", "/ingest", page, []string{"X-API-Key", strings.Repeat("k", 5000)}, 401, "unknown_key", ""},
		{"text with a secret key", "POST", "/ingest", page, []string{"X-API-Key", integrationKey, "Content-Type", "text/plain"}, 415, "unsupported_media_type", ""},
		{"a form", "POST", "/ingest", page, []string{"X-API-Key", trackerKey, "Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", ""},
		{"ndjson for one", "POST", "/ingest", page, []string{"X-API-Key", trackerKey, "Content-Type", "application/x-ndjson"}, 415, "unsupported_media_type", ""},
		{"unknown encoding", "POST", "/ingest", page, []string{"X-API-Key", trackerKey, "Content-Encoding", "deflate"}, 415, "unsupported_media_type", ""},
		{"no gzip", "POST", "/ingest", page, []string{"X-API-Key", trackerKey, "Content-Encoding", "gzip"}, 400, "invalid_json", ""},
		{"empty body", "POST", "/ingest", "", []string{"X-API-Key", trackerKey}, 400, "invalid_json", ""},
		{"no JSON", "POST", "/ingest", "{", []string{"X-API-Key", trackerKey}, 400, "invalid_json", ""},
		{"two events", "POST", "/ingest", page + page, []string{"X-API-Key", trackerKey}, 400, "invalid_json", ""},
		{"an array", "POST", "/ingest", "[" + page + "]", []string{"X-API-Key", trackerKey}, 400, "invalid_event", ""},
		{"invalid UTF-8", "POST", "/ingest", "{\"anonymous_id\":\"a\xff\",\"event_type\":\"page\"}", []string{"X-API-Key", trackerKey}, 400, "invalid_json", ""},
		{"too deep", "POST", "/ingest", deep, []string{"X-API-Key", trackerKey}, 400, "invalid_json", ""},
		{"no type", "POST", "/ingest", `{"anonymous_id":"a"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "event_type"},
		{"unknown type", "POST", "/ingest", `{"anonymous_id":"a","event_type":"click"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "event_type"},
		{"a type of the dialects", "POST", "/ingest", `{"anonymous_id":"a","event_type":"group","group_id":"g"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "event_type"},
		{"the type twice", "POST", "/ingest", `{"anonymous_id":"a","event_type":"page","event_type":"page"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "event_type"},
		{"payload no object", "POST", "/ingest", `{"anonymous_id":"a","event_type":"page","payload":[]}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "payload"},
		{"track without a name", "POST", "/ingest", `{"anonymous_id":"a","event_type":"track"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "event_name"},
		{"nobody", "POST", "/ingest", `{"event_type":"page"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "anonymous_id"},
		{"a value for nobody", "POST", "/ingest", `{"event_type":"page","anonymous_id":"undefined"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "anonymous_id"},
		{"an identity for nobody", "POST", "/ingest", `{"event_type":"page","identity":"[object Object]"}`, []string{"X-API-Key", trackerKey}, 400, "invalid_event", "identity"},
		{"too large", "POST", "/ingest", `{"anonymous_id":"a","event_type":"page","payload":{"x":"` + strings.Repeat("x", 900<<10) + `"}}`, []string{"X-API-Key", trackerKey}, 413, "too_large", ""},
		{"far too large", "POST", "/ingest", strings.Repeat("x", 4<<20), []string{"X-API-Key", trackerKey}, 413, "too_large", ""},

		{"a batch", "POST", "/tenant/ingest/batch", batch, []string{"X-API-Key", integrationKey}, 202, "", ""},
		{"its alias", "POST", "/api/tenant/ingest/batch", batch, []string{"X-API-Key", integrationKey}, 202, "", ""},
		{"its other alias", "POST", "/ingest/batch", batch, []string{"X-API-Key", integrationKey}, 202, "", ""},
		{"a batch, slashed", "POST", "/Tenant//ingest/batch/", batch, []string{"X-API-Key", integrationKey}, 202, "", ""},
		{"a batch with a tracker key", "POST", "/tenant/ingest/batch", batch, []string{"X-API-Key", trackerKey}, 403, "wrong_scope", ""},
		{"a batch without a key", "POST", "/tenant/ingest/batch", batch, nil, 401, "missing_key", ""},
		{"a batch with the key in the query", "POST", "/tenant/ingest/batch?key=" + integrationKey, batch, nil, 401, "missing_key", ""},
		{"a batch as text", "POST", "/tenant/ingest/batch", batch, []string{"X-API-Key", integrationKey, "Content-Type", "text/plain"}, 415, "unsupported_media_type", ""},
		{"a batch of nothing", "POST", "/tenant/ingest/batch", `{"events":[]}`, []string{"X-API-Key", integrationKey}, 400, "invalid_event", "events"},
		{"an empty batch", "POST", "/tenant/ingest/batch", ``, []string{"X-API-Key", integrationKey}, 400, "invalid_json", ""},
		{"no batch", "POST", "/tenant/ingest/batch", page, []string{"X-API-Key", integrationKey}, 400, "invalid_event", "events"},
		{"half a batch", "POST", "/tenant/ingest/batch", batch[:len(batch)-2], []string{"X-API-Key", integrationKey}, 400, "invalid_json", ""},

		{"no such job", "GET", "/tenant/ingest/batch/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", []string{"X-API-Key", integrationKey}, 404, "not_found", ""},
		{"no job id", "GET", "/tenant/ingest/batch/7", "", []string{"X-API-Key", integrationKey}, 404, "not_found", ""},
		{"a job with a tracker key", "GET", "/tenant/ingest/batch/7", "", []string{"X-API-Key", trackerKey}, 403, "wrong_scope", ""},
		{"a job without a key", "GET", "/tenant/ingest/batch/7", "", nil, 401, "missing_key", ""},

		{"nothing there", "POST", "/nothing", page, []string{"X-API-Key", trackerKey}, 404, "not_found", ""},
		{"the root", "GET", "/", "", nil, 404, "not_found", ""},
		{"too many parts", "POST", "/ingest/a/b/c/d/e/f/g", page, nil, 404, "not_found", ""},
		{"an endless path", "POST", "/" + strings.Repeat("a", 5000), page, nil, 404, "not_found", ""},
		{"GET of an event", "GET", "/ingest", "", []string{"X-API-Key", trackerKey}, 405, "method_not_allowed", ""},
		{"PUT of an event", "PUT", "/ingest", page, []string{"X-API-Key", trackerKey}, 405, "method_not_allowed", ""},
		{"POST of a job", "POST", "/ingest/batch/7", page, []string{"X-API-Key", trackerKey}, 405, "method_not_allowed", ""},
		{"POST of the tracker", "POST", "/v1/js/tracker.js", page, nil, 405, "method_not_allowed", ""},
	} {
		a := r.do(c.method, c.path, []byte(c.body), c.headers...)
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, a.status, a.body, c.status)
			continue
		}
		if a.header.Get("X-Request-Id") == "" || a.header.Get("Content-Type") != jsonType || a.header.Get("Server") != "" {
			t.Errorf("%s: headers %v", c.name, a.header)
		}
		if c.status < 300 {
			a.json(t)
			continue
		}
		if code, field := a.failure(t); code != c.code || field != c.field {
			t.Errorf("%s: %s %s, want %s %s", c.name, code, field, c.code, c.field)
		}
		if allow := a.header.Get("Allow"); (c.status == 405) != strings.Contains(allow, "OPTIONS") {
			t.Errorf("%s: Allow is %q", c.name, allow)
		}
	}
	r.conserved()
}

func TestRequestID(t *testing.T) {
	r := newRig(t, options{})
	seen := map[string]bool{}
	for given, kept := range map[string]bool{"": false, "abc-DEF_1.2:3/4+5=": true, "a b": false, strings.Repeat("x", 129): false, "a\tb": false, "ünïcode": false} {
		a := r.post("/ingest", trackerKey, jsonType, page, "X-Request-Id", given)
		id := a.header.Get("X-Request-Id")
		if (id == given) != kept || id == "" || seen[id] {
			t.Errorf("%q became %q", given, id)
		}
		seen[id] = true
	}
}

// The record says what the client said, byte for byte, and the headers what the edge knows.
func TestRecord(t *testing.T) {
	r := newRig(t, options{})
	text := `{ "anonymous_id" : 1e3, "identity":"Ann@Example.com", "event_type":"identify", "extra":[1.00, 9007199254740993, "\u0000\ud800"],
		"payload":{"price":100.00} }`
	before := time.Now()
	a := r.post("/ingest", integrationKey, jsonType, "\n"+text+"\n", "X-Request-Id", "req-1", "User-Agent", "curl/8")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	minted := a.json(t)["message_id"].(string)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(minted) {
		t.Errorf("minted %s", minted)
	}
	rec := r.records(event.TopicEvents, 1)[0]
	m := rec.meta
	if string(rec.Value) != text {
		t.Errorf("the value is %s", rec.Value)
	}
	if m.Tenant != tenant || m.KeyID != "int" || m.RequestID != "req-1" || m.MessageID != minted || m.JobID != "" {
		t.Errorf("%+v", m)
	}
	if m.IP != "" || m.UserAgent != "" {
		t.Errorf("a server's address and program are not a visitor's: %+v", m)
	}
	if m.IdentityNode != event.NodeID(tenant, event.KindEmail, "ann@example.com") {
		t.Errorf("identity node %s", m.IdentityNode)
	}
	if m.ReceivedAt.Before(before.Truncate(time.Microsecond)) || m.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %s", m.ReceivedAt)
	}
	if want := string(event.RoutingKey(nil, tenant, event.Identifier{Value: "1e3"})); string(rec.Key) != want {
		t.Errorf("key %q", rec.Key)
	}
}

func TestMessageID(t *testing.T) {
	r := newRig(t, options{})
	for given, want := range map[string]string{`"m-1"`: "m-1", `"a\"\u00e9\n"`: "a\"é\n", `""`: "", `null`: ""} {
		a := r.post("/ingest", trackerKey, jsonType, `{"anonymous_id":"a","event_type":"page","message_id":`+given+`}`)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", given, a.status, a.body)
		}
		if got := a.json(t)["message_id"]; want != "" && got != want || got == "" {
			t.Errorf("%s came back as %q", given, got)
		}
	}
	for _, rec := range r.records(event.TopicEvents, 4) {
		if (rec.meta.MessageID == "") != (len(rec.ev.MessageID) > 0) {
			t.Errorf("value %q, header %q: one of them", rec.ev.MessageID, rec.meta.MessageID)
		}
	}
}

func TestReceivedAtIsStrictlyIncreasing(t *testing.T) {
	r := newRig(t, options{})
	lines := strings.Repeat(page+"\n", 3000)
	if a := r.post("/ingest/batch", integrationKey, "application/x-ndjson", lines); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var last time.Time
	for i, rec := range r.records(event.TopicBackfill, 3000) { // one device: one partition, in order
		if !rec.meta.ReceivedAt.After(last) {
			t.Fatalf("record %d: %s after %s", i, rec.meta.ReceivedAt, last)
		}
		last = rec.meta.ReceivedAt
	}
}

// What a tracker key's request says about its sender goes along.
func TestBrowser(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.TrustedProxies = prefixes(t, "127.0.0.0/8", "10.0.0.0/8") }})
	const ua = "Mozilla/5.0 (X11)"
	for i, c := range []struct {
		key, body, agent, forwarded, wantIP, wantUA string
	}{
		{trackerKey, page, ua, "", "127.0.0.1", ua},
		{trackerKey, page, ua, "203.0.113.7", "203.0.113.7", ua},
		{trackerKey, page, ua, "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7", ua},
		{trackerKey, page, ua, "2001:db8::1", "2001:db8::1", ua},
		{trackerKey, page, ua, "junk, 10.1.2.3", "10.1.2.3", ua},
		{trackerKey, `{"anonymous_id":"a","event_type":"page","context":{"user_agent":"own"}}`, ua, "", "127.0.0.1", ""},
		{trackerKey, `{"anonymous_id":"a","event_type":"page","context":{"user_agent":null}}`, ua, "", "127.0.0.1", ua},
		{trackerKey, page, strings.Repeat("x", 2000), "", "127.0.0.1", ""},
		{integrationKey, page, ua, "203.0.113.7", "", ""},
	} {
		headers := []string{"User-Agent", c.agent, "X-Request-Id", strconv.Itoa(i)}
		if c.forwarded != "" {
			headers = append(headers, "X-Forwarded-For", c.forwarded)
		}
		if a := r.post("/ingest", c.key, jsonType, c.body, headers...); a.status != 200 {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
		for _, rec := range r.records(event.TopicEvents, i+1) {
			if rec.meta.RequestID == strconv.Itoa(i) && (rec.meta.IP != c.wantIP || rec.meta.UserAgent != c.wantUA) {
				t.Errorf("%d: ip %q, user agent %q", i, rec.meta.IP, rec.meta.UserAgent)
			}
		}
	}
}

func TestUntrustedForwarding(t *testing.T) {
	r := newRig(t, options{})
	if a := r.post("/ingest", trackerKey, jsonType, page, "X-Forwarded-For", "203.0.113.7"); a.status != 200 {
		t.Fatal(a.status)
	}
	if ip := r.records(event.TopicEvents, 1)[0].meta.IP; ip != "127.0.0.1" {
		t.Errorf("anybody may claim to be %s", ip)
	}
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, options{})
	if a := r.post("/ingest", slowKey, jsonType, page); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a := r.post("/ingest", slowKey, jsonType, page)
	code, _ := a.failure(t)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != 429 || code != "rate_limited" || err != nil || seconds < 90 || seconds > 100 {
		t.Errorf("%d %s, Retry-After %q", a.status, code, a.header.Get("Retry-After"))
	}
	if a := r.post("/ingest", trackerKey, jsonType, page); a.status != 200 {
		t.Errorf("another key: %d", a.status)
	}
}

func TestKeyStoreDown(t *testing.T) {
	r := newRig(t, options{})
	r.post("/ingest", trackerKey, jsonType, page)
	r.keys.outage()
	if a := r.post("/ingest", trackerKey, jsonType, page); a.status != 200 {
		t.Errorf("a known key: %d %s", a.status, a.body)
	}
	a := r.post("/ingest", integrationKey, jsonType, page)
	if code, _ := a.failure(t); a.status != 503 || code != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("a key nobody has seen: %d %s", a.status, a.body)
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t, options{})
	const site = "https://shop.example"
	paths := []string{"/ingest", "/api/ingest", "/tenant/ingest/batch", "/ingest/batch", "/ingest/batch/7", "/v1/track", "/v1/b", "/beacon/v1/batch",
		"/v1/projects/k/settings", "/sourceConfig/", "/api/s/page", "/api/s/s2s/track", "/v1/js/tracker.js", "/v1/js/tracker.d.ts", "/v1/js/cookie"}
	for _, path := range paths {
		asked := "anonymousid,authorization,content-type,rsa-retry-attempt,x-retry-count"
		a := r.do("OPTIONS", path, nil, "Origin", site, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", asked)
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": site, "Access-Control-Allow-Headers": asked, "Access-Control-Max-Age": "86400",
			"Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "Retry-After, X-Request-Id",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("OPTIONS %s: %s is %q", path, name, got)
			}
		}
		if a.status != 200 || !strings.Contains(a.header.Get("Vary"), "Origin") || a.header.Get("Access-Control-Allow-Methods") == "" {
			t.Errorf("OPTIONS %s: %d %v", path, a.status, a.header)
		}
		a.json(t)
	}
	if a := r.do("OPTIONS", "/nothing", nil, "Origin", site); a.status != 404 {
		t.Errorf("OPTIONS of nothing: %d", a.status)
	}

	for name, c := range map[string]struct {
		key, origin, allow string
		status             int
	}{
		"any origin":             {trackerKey, site, site, 200},
		"the null origin":        {trackerKey, "null", "null", 200},
		"no origin":              {trackerKey, "", "", 200},
		"a listed origin":        {originKey, site, site, 200},
		"a listed origin's none": {originKey, "", "", 200},
		"another origin":         {originKey, "https://evil.example", "", 403},
		"null is another":        {originKey, "null", "", 403},
		"an error is readable":   {"ks_trk_nobody", site, site, 401},
	} {
		headers := []string{}
		if c.origin != "" {
			headers = append(headers, "Origin", c.origin)
		}
		a := r.post("/ingest", c.key, jsonType, page, headers...)
		h := a.header
		if a.status != c.status || h.Get("Access-Control-Allow-Origin") != c.allow {
			t.Errorf("%s: %d %v", name, a.status, h)
		}
		if got := h.Get("Access-Control-Allow-Credentials") == "true" && h.Get("Access-Control-Expose-Headers") != ""; got != (c.allow != "") {
			t.Errorf("%s: %v", name, h)
		}
		if c.status == 403 {
			if code, _ := a.failure(t); code != "origin_not_allowed" {
				t.Errorf("%s: %s", name, code)
			}
		}
		if h.Get("Vary") != "Origin" {
			t.Errorf("%s: caches are not told: %v", name, h)
		}
	}
}

func TestTrackerIsServed(t *testing.T) {
	r := newRig(t, options{})
	a := r.do("GET", "/v1/js/tracker.js", nil, "Accept-Encoding", "br")
	if a.status != 200 || a.header.Get("Content-Encoding") != "br" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := r.do("GET", "/v1/js/tracker.js", nil, "Accept-Encoding", "br", "If-None-Match", a.header.Get("Etag")); a.status != http.StatusNotModified || len(a.body) != 0 {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := r.do("HEAD", "/v1/js/tracker.js", nil); a.status != 200 || len(a.body) != 0 {
		t.Errorf("HEAD: %d %d bytes", a.status, len(a.body))
	}
	if a := r.do("GET", "/v1/js/tracker.d.ts", nil); a.status != 200 || !strings.Contains(string(a.body), "export interface Keystone") {
		t.Errorf("declarations: %d %.50s", a.status, a.body)
	}
}
