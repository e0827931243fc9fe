package edge

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/event"
)

const nodeMessage = `{"anonymousId":"anon","userId":"u1","type":"track","event":"Order Completed","properties":{"order_id":"o1","total":100.00},"timestamp":"2026-11-23T10:00:00.123Z","messageId":"node-next-1","context":{"library":{"name":"@segment/analytics-node","version":"3.1.0"}},"_metadata":{"nodeVersion":"20"},"integrations":{}}`

// What each SDK was seen to send.
func TestDialects(t *testing.T) {
	r := newRig(t, options{})
	rudder := `{"batch":[{"userId":"u1","event":"Order Completed","type":"track","properties":{"order_id":"o1","total":100.00},"originalTimestamp":"2026-11-23T10:00:00.123Z","messageId":"rs-1","channel":"server"}],"timestamp":"2026-11-23T10:00:01.000Z","sentAt":"2026-11-23T10:00:01.000Z"}`
	next := `{"timestamp":"2026-11-23T10:00:00.123Z","integrations":{},"userId":null,"anonymousId":"anon","event":"Order Completed","type":"track","properties":{"order_id":"o1","total":100.00},"context":{"page":{"url":"https://shop.example/"},"userAgent":"Mozilla/5.0"},"messageId":"ajs-next-1","writeKey":"` + trackerKey + `","sentAt":"2026-11-23T10:00:01.000Z","_metadata":{"bundled":["Segment.io"]}}`
	for _, c := range []struct {
		name, path, body string
		headers          []string
		id               string
	}{
		{"analytics-node 3.1", "/v1/batch", `{"batch":[` + nodeMessage + `],"writeKey":"` + integrationKey + `","sentAt":"2026-11-23T10:00:01.000Z"}`,
			[]string{"Authorization", basic(integrationKey), "Content-Type", "application/json"}, "node-next-1"},
		{"analytics-node 2.3: key in the body only", "/v1/batch", `{"batch":[` + nodeMessage + `],"writeKey":"` + integrationKey + `","sentAt":"S"}`,
			[]string{"Content-Type", "application/json"}, "node-next-1"},
		{"analytics-node 1.3", "/v1/batch", `{"batch":[` + nodeMessage + `],"sentAt":"S"}`, []string{"Authorization", basic(integrationKey), "Content-Type", "application/json"}, "node-next-1"},
		{"customerio", "/v1/batch", `{"batch":[` + nodeMessage + `]}`, []string{"Authorization", basic(integrationKey), "Content-Type", "application/json"}, "node-next-1"},
		{"rudder-sdk-node: gzipped JSON as a form", "/v1/batch", string(zip(t, rudder)),
			[]string{"Authorization", basic(integrationKey), "Content-Type", "application/x-www-form-urlencoded", "Content-Encoding", "gzip"}, "rs-1"},
		{"the same, with the header lost on the way", "/v1/batch", string(zip(t, rudder)), []string{"Authorization", basic(integrationKey), "Content-Type", "application/x-www-form-urlencoded"}, "rs-1"},
		{"analytics-next, one message", "/v1/t", next, []string{"Authorization", basic(trackerKey), "Content-Type", "text/plain", "Origin", "https://shop.example"}, "ajs-next-1"},
		{"analytics-next, key in the body", "/v1/t", next, []string{"Content-Type", "text/plain"}, "ajs-next-1"},
		{"analytics-next, batching", "/v1/b", `{"writeKey":"` + trackerKey + `","batch":[` + next + `],"sentAt":"S"}`, []string{"Content-Type", "text/plain"}, "ajs-next-1"},
		{"analytics-js", "/v1/track", strings.Replace(next, `,"writeKey":"`+trackerKey+`"`, "", 1),
			[]string{"Authorization", basic(trackerKey), "AnonymousId", "YW5vbg==", "SentAt", "x", "Content-Type", "application/json;charset=UTF-8"}, "ajs-next-1"},
		{"analytics-js, beacon", "/beacon/v1/batch?writeKey=" + trackerKey, `{"batch":[` + next + `],"sentAt":"S"}`, []string{"Content-Type", "text/plain;charset=UTF-8"}, "ajs-next-1"},
		{"jitsu, server", "/api/s/s2s/track", strings.Replace(next, trackerKey, "js.id:***", 1), []string{"X-Write-Key", "js.id:" + integrationKey, "Content-Type", "application/json"}, "ajs-next-1"},
		{"jitsu, browser", "/api/s/track", strings.Replace(next, trackerKey, "id:***", 1), []string{"X-Write-Key", trackerKey, "Content-Type", "application/json", "Origin", "https://shop.example"}, "ajs-next-1"},
		{"slashes and case", "//V1/Batch/", `{"batch":[` + nodeMessage + `]}`, []string{"Authorization", basic(integrationKey)}, "node-next-1"},
		{"a bare array", "/v1/batch", `[` + nodeMessage + `]`, []string{"Authorization", basic(integrationKey)}, "node-next-1"},
	} {
		before := r.metric("keystone_edge_accepted_events_total")
		a := r.do("POST", c.path, []byte(c.body), c.headers...)
		if a.status != 200 || a.json(t)["success"] != true {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
			continue
		}
		n := int(r.metric("keystone_edge_accepted_events_total"))
		if n != int(before)+1 {
			t.Errorf("%s: %d events", c.name, n-int(before))
		}
		recs := r.records(event.TopicEvents, n)
		rec := recs[slices.IndexFunc(recs, func(l *logged) bool { return l.meta.RequestID == a.header.Get("X-Request-Id") })]
		if rec.messageID() != c.id || rec.ev.Type != event.Track || string(rec.ev.Name) != "Order Completed" || string(rec.ev.Payload) != `{"order_id":"o1","total":100.00}` ||
			string(rec.ev.Timestamp) != `"2026-11-23T10:00:00.123Z"` {
			t.Errorf("%s: %s", c.name, rec.Value)
		}
		original := event.Member(rec.Value, "original")
		if whole := strings.Contains(c.body, string(original)) || strings.Contains(rudder, string(original)); whole == (c.name == "jitsu, server") {
			t.Errorf("%s: original %s", c.name, original) // a secret key's message is kept without its writeKey
		}
		if strings.Contains(string(rec.Value), "ks_int_") {
			t.Errorf("%s: a secret key is in the log", c.name)
		}
		if browser := rec.meta.IP != ""; browser != (rec.meta.KeyID == "trk") {
			t.Errorf("%s: %+v", c.name, rec.meta)
		}
		if strings.Contains(c.body, "userAgent") && rec.meta.UserAgent != "Mozilla/5.0" {
			t.Errorf("%s: context.userAgent is lost: %q", c.name, rec.meta.UserAgent)
		}
	}
	r.conserved()
}

func TestDialectTypes(t *testing.T) {
	r := newRig(t, options{})
	wants := map[string]event.Type{} // by request
	for path, want := range map[string]event.Type{
		"/v1/identify": event.Identify, "/v1/track": event.Track, "/v1/page": event.Page, "/v1/screen": event.Page, "/v1/group": event.Group, "/v1/alias": event.Alias,
		"/v1/i": event.Identify, "/v1/t": event.Track, "/v1/p": event.Page, "/v1/s": event.Page, "/v1/g": event.Group, "/v1/a": event.Alias,
		"/api/s/page": event.Page, "/api/s/identify": event.Identify, "/api/s/group": event.Group, "/api/s/s2s/track": event.Track, "/api/s/event": event.Page,
	} {
		a := r.do("POST", path, []byte(`{"type":"page","userId":"u","anonymousId":"a","previousId":"b","groupId":"g","event":"e","messageId":"m"}`), "X-Write-Key", trackerKey)
		if a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
			continue
		}
		wants[a.header.Get("X-Request-Id")] = want
	}
	for _, rec := range r.records(event.TopicEvents, len(wants)) {
		if want := wants[rec.meta.RequestID]; rec.ev.Type != want {
			t.Errorf("%s, want %s", rec.Value, want)
		}
	}
	for _, path := range []string{"/v1/delete", "/v1/", "/v1", "/api/s", "/api/s/t", "/api/s/nothing", "/api/s/s2s"} {
		if a := r.do("POST", path, []byte(page), "X-Write-Key", trackerKey); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := r.do("GET", "/v1/track", nil, "X-Write-Key", trackerKey); a.status != 405 {
		t.Errorf("GET: %d", a.status)
	}
}

// Bad and oversized messages do not take their neighbours along.
func TestDialectBatchOfMixedValidity(t *testing.T) {
	r := newRig(t, options{})
	big := `{"type":"track","event":"big","userId":"u","messageId":"big","properties":{"x":"` + strings.Repeat("x", 615<<10) + `"}}`
	huge := `{"type":"track","event":"huge","userId":"u","properties":{"x":"` + strings.Repeat("x", 950<<10) + `"}}`
	bad := []string{huge, `{"type":"nothing","userId":"u"}`, `{"type":"track","userId":"u"}`, `{"type":"page","userId":"guest"}`, `{]`, `7`}
	body := `{"batch":[` + strings.Join(slices.Concat([]string{nodeMessage}, bad, []string{big}), ",") + `],"sentAt":"S"}`
	if a := r.do("POST", "/v1/batch", []byte(body), "Authorization", basic(integrationKey)); a.status != 200 || a.json(t)["success"] != true {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var ids []string
	for _, rec := range r.records(event.TopicEvents, 2) {
		ids = append(ids, rec.messageID())
	}
	if slices.Sort(ids); strings.Join(ids, " ") != "big node-next-1" {
		t.Errorf("%v", ids)
	}
	if n := r.metric("keystone_edge_rejected_events_total", "endpoint", "segment"); n != float64(len(bad)) {
		t.Errorf("%v are counted as bad", n)
	}
	r.conserved()
}

func TestDialectRefuses(t *testing.T) {
	r := newRig(t, options{})
	for name, c := range map[string]struct {
		path, body, key string
		status          int
		code            string
	}{
		"no key":                {"/v1/track", `{"type":"track","event":"e","userId":"u"}`, "", 401, "missing_key"},
		"no key and no JSON":    {"/v1/track", `nonsense`, "", 401, "missing_key"},
		"unknown key in a body": {"/v1/track", `{"writeKey":"nobody"}`, "", 401, "unknown_key"},
		"a batch without a key": {"/v1/batch", `{"batch":[]}`, "", 401, "missing_key"},
		"no JSON":               {"/v1/track", `nonsense`, trackerKey, 400, "invalid_json"},
		"no batch":              {"/v1/batch", `{"type":"track"}`, trackerKey, 400, "invalid_event"},
		"an empty batch":        {"/v1/batch", `{"batch":[]}`, trackerKey, 400, "invalid_event"},
		"bad messages only":     {"/v1/batch", `{"batch":[{"type":"x"},7]}`, trackerKey, 400, "invalid_event"},
		"one bad message":       {"/v1/track", `{"userId":"u"}`, trackerKey, 400, "invalid_event"},
		"nobody":                {"/v1/page", `{"userId":null,"anonymousId":""}`, trackerKey, 400, "invalid_event"},
		"one large message":     {"/v1/page", `{"userId":"u","x":"` + strings.Repeat("x", 950<<10) + `"}`, trackerKey, 413, "too_large"},
		"unknown encoding":      {"/v1/page", `{}`, trackerKey, 415, "unsupported_media_type"},
	} {
		headers := []string{"X-Write-Key", c.key}
		if c.status == 415 {
			headers = append(headers, "Content-Encoding", "compress")
		}
		a := r.do("POST", c.path, []byte(c.body), headers...)
		if code, _ := a.failure(t); a.status != c.status || code != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	r.conserved()
}

// Real messages of other people's SDKs go through the door.
func TestFixturesAreTaken(t *testing.T) {
	r := newRig(t, options{})
	files, err := filepath.Glob("../segment/testdata/fixtures/*.json")
	if err != nil || len(files) < 15 {
		t.Fatal(files, err)
	}
	nobody := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		path := "/v1/batch"
		if !strings.Contains(file, "batches") {
			var m struct{ Type string }
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			path = "/v1/" + m.Type
		}
		a := r.do("POST", path, text, "X-Write-Key", integrationKey)
		switch {
		case a.status == 200:
		case a.status == 400 && !bytes.Contains(text, []byte(`"userId"`)) && !bytes.Contains(text, []byte(`"anonymousId"`)):
			nobody++ // samples of the documentation that name nobody
		default:
			t.Errorf("%s: %d %s", file, a.status, a.body)
		}
	}
	if nobody > 3 {
		t.Errorf("%d samples name nobody", nobody)
	}
}

func TestSettings(t *testing.T) {
	r := newRig(t, options{})
	host := strings.TrimPrefix(r.url, "http://")
	var segment struct {
		Integrations map[string]struct{ APIKey, APIHost, Protocol string }
	}
	a := r.do("GET", "/v1/projects/"+trackerKey+"/settings", nil, "Origin", "https://shop.example")
	if err := json.Unmarshal(a.body, &segment); err != nil || a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if s := segment.Integrations["Segment.io"]; s.APIKey != trackerKey || s.APIHost != host+"/v1" || s.Protocol != "http" {
		t.Errorf("%+v", s)
	}
	if a.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("%v", a.header)
	}
	a = r.do("GET", "/V1//projects/"+trackerKey+"/settings/", nil, "Host", "cdp.example", "X-Forwarded-Proto", "https")
	if err := json.Unmarshal(a.body, &segment); err != nil || segment.Integrations["Segment.io"].APIHost != "cdp.example/v1" || segment.Integrations["Segment.io"].Protocol != "https" {
		t.Errorf("%d %s", a.status, a.body)
	}

	var rudder struct {
		Source struct {
			ID, WriteKey string
			Enabled      bool
			Config       map[string]any
			Destinations []any
			Dataplanes   map[string][]struct {
				URL     string
				Default bool
			}
		}
	}
	a = r.do("GET", "/sourceConfig/?p=npm&v=3.34.1&writeKey="+url.QueryEscape(trackerKey), nil, "Authorization", basic(trackerKey))
	if err := json.Unmarshal(a.body, &rudder); err != nil || a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if s := rudder.Source; s.ID == "" || s.WriteKey != trackerKey || !s.Enabled || s.Destinations == nil || s.Dataplanes["US"][0].URL != r.url {
		t.Errorf("%+v", s)
	}
	for path, status := range map[string]int{
		"/v1/projects/nobody/settings": 401, "/v1/projects/" + integrationKey + "/settings": 403, "/sourceConfig/": 401,
		"/sourceConfig?writeKey=" + trackerKey: 200, "/v1/projects/settings": 404,
	} {
		if a := r.do("GET", path, nil); a.status != status {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := r.do("GET", "/sourceConfig?writeKey="+trackerKey, nil, "Host", "a b\"c"); a.status != 400 {
		t.Errorf("a host that is none: %d %s", a.status, a.body)
	}
}

// An SDK that gets no settings never starts, and a page's events are lost without a try: a visit
// must not fail because of the events before it, nor take from the events after it.
func TestSettingsAreNotRateLimited(t *testing.T) {
	r := newRig(t, options{})
	for range 3 {
		for _, path := range []string{"/v1/projects/" + slowKey + "/settings", "/sourceConfig/?writeKey=" + slowKey} {
			if a := r.do("GET", path, nil); a.status != 200 {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	if a := r.post("/ingest", slowKey, jsonType, page); a.status != 200 {
		t.Errorf("the event after it: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/v1/projects/"+slowKey+"/settings", nil); a.status != 200 {
		t.Errorf("the visit after it: %d %s", a.status, a.body)
	}
}

func TestPublicURL(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.PublicURL = "https://cdp.example/in" }})
	a := r.do("GET", "/v1/projects/"+trackerKey+"/settings", nil)
	if !bytes.Contains(a.body, []byte(`"apiHost":"cdp.example/in/v1","protocol":"https"`)) {
		t.Errorf("%s", a.body)
	}
}
