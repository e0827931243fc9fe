package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
)

const (
	privateTracker = "ks_trk_private"
	privateServer  = "ks_int_private"
)

var privateTenant = uuid.MustParse("6ba7b812-9dad-11d1-80b4-00c04fd430c8")

// private adds two keys of a tenant with settings of its own.
func (r *rig) private(s event.Settings) {
	r.t.Helper()
	if err := s.Validate(); err != nil {
		r.t.Fatal(err)
	}
	r.keys.mu.Lock()
	defer r.keys.mu.Unlock()
	for text, scope := range map[string]key.Scope{privateTracker: key.Tracker, privateServer: key.Integration} {
		r.keys.keys[sha256.Sum256([]byte(text))] = key.Key{KeyID: "prv", Tenant: privateTenant, Scope: scope, Settings: s}
	}
}

// No more of an address than the tenant wants is written anywhere: not in the header, not in the event
// and not in the SDK's message that is kept in it.
func TestAddressesAreHidden(t *testing.T) {
	for mode, want := range map[string]struct{ v4, v6, client string }{
		event.IPFull:     {"203.0.113.77", "2001:db8:1:2::3", "198.51.100.200"},
		"":               {"203.0.113.77", "2001:db8:1:2::3", "198.51.100.200"},
		event.IPTruncate: {"203.0.113.0", "2001:db8:1::", "198.51.100.0"},
		event.IPDrop:     {"", "", ""},
	} {
		t.Run("ip "+mode, func(t *testing.T) {
			r := newRig(t, options{edge: func(c *Config) { c.TrustedProxies = prefixes(t, "127.0.0.0/8") }})
			s := event.DefaultSettings()
			s.IP = mode
			r.private(s)
			own := `{"anonymous_id":"a","event_type":"page","context":{"ip":"198.51.100.200","user_agent":"x"}}`
			sdk := `{"type":"page","anonymousId":"a","context":{"ip":"198.51.100.200"}}`
			for _, c := range []struct{ path, key, body, forwarded string }{
				{"/ingest", privateTracker, page, "203.0.113.77"},
				{"/ingest", privateTracker, page, "2001:db8:1:2::3"},
				{"/ingest", privateServer, own, ""},
				{"/v1/page", privateServer, sdk, ""},
				{"/v1/batch", privateServer, `{"batch":[` + sdk + `]}`, ""},
			} {
				a := r.post(c.path, c.key, jsonType, c.body, "X-Forwarded-For", c.forwarded)
				if a.status != 200 {
					t.Fatalf("%s: %d %s", c.path, a.status, a.body)
				}
			}
			if a := r.post("/ingest/batch", privateServer, jsonType, "["+own+"]"); a.status != 202 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			records := r.records(event.TopicEvents, 5)
			if got := records[0].meta.IP; got != want.v4 {
				t.Errorf("IPv4: %q, want %q", got, want.v4)
			}
			if got := records[1].meta.IP; got != want.v6 {
				t.Errorf("IPv6: %q, want %q", got, want.v6)
			}
			for _, rec := range append(records[2:], r.records(event.TopicBackfill, 1)...) {
				var got struct {
					Context  struct{ IP string }
					Original *struct{ Context struct{ IP string } }
				}
				if err := json.Unmarshal(rec.Value, &got); err != nil {
					t.Fatalf("%s: %v", rec.Value, err)
				}
				if got.Context.IP != want.client || got.Original != nil && got.Original.Context.IP != want.client {
					t.Errorf("%s, want %q", rec.Value, want.client)
				}
				if mode != "" && mode != event.IPFull && bytes.Contains(rec.Value, []byte("198.51.100.200")) {
					t.Errorf("an address is left in %s", rec.Value)
				}
			}
		})
	}
}

func TestHideAddresses(t *testing.T) {
	for in, want := range map[string]string{
		`{"context":{"ip":"203.0.113.77"}}`:                              `{"context":{"ip":"203.0.113.0" }}`,
		`{"context":{"ip":"1.2.3.4"}}`:                                   `{"context":{"ip":"1.2.3.0"}}`,
		`{"context":{"ip":" 1.2.3.4 "}}`:                                 `{"context":{"ip":"1.2.3.0"  }}`,
		`{"context":{"ip":"::ffff:203.0.113.77"}}`:                       `{"context":{"ip":"203.0.113.0"        }}`,
		`{"context":{"ip":"2001:db8:1:2:3:4:5:6"}}`:                      `{"context":{"ip":"2001:db8:1::"        }}`,
		`{"context":{"ip":"fe80::1%eth0"}}`:                              `{"context":{"ip":"fe80::"      }}`,
		`{"context":{"ip":"::1"}}`:                                       `{"context":{"ip":"::" }}`,
		`{"context":{"ip":"203.0.113.77, 10.0.0.1"}}`:                    `{"context":{"ip":""                      }}`,
		`{"context":{"ip":""}}`:                                          `{"context":{"ip":""}}`,
		`{"context":{"ip":null}}`:                                        `{"context":{"ip":null}}`,
		`{"context":{"ip":3405803853}}`:                                  `{"context":{"ip":0         }}`,
		`{"context":{"ip":["203.0.113.77"]}}`:                            `{"context":{"ip":""              }}`,
		`{"context":{"ip":true}}`:                                        `{"context":{"ip":""  }}`,
		`{"context":{"i\u0070":"203.0.113.77"}}`:                         `{"context":{"i\u0070":"203.0.113.0" }}`,
		`{"context":{"ip":"\u0031.2.3.4"}}`:                              `{"context":{"ip":"1.2.3.0"     }}`,
		`{"context":{"ip":"1.2.3.4","ip":"1.2.3.5"}}`:                    `{"context":{"ip":"1.2.3.0","ip":"1.2.3.0"}}`,
		`{"context":{"ip":"1.2.3.4"},"context":{"ip":"1.2.3.5"}}`:        `{"context":{"ip":"1.2.3.0"},"context":{"ip":"1.2.3.0"}}`,
		`{"original":{"context":{"ip":"1.2.3.4"}}}`:                      `{"original":{"context":{"ip":"1.2.3.0"}}}`,
		`{"original":7,"context":null}`:                                  `{"original":7,"context":null}`,
		`{"payload":{"ip":"1.2.3.4","context":{"ip":"1.2.3.4"}}}`:        `{"payload":{"ip":"1.2.3.4","context":{"ip":"1.2.3.4"}}}`,
		`{"context":{"page":{"url":"https://x/?ip=1.2.3.4"},"ip":null}}`: `{"context":{"page":{"url":"https://x/?ip=1.2.3.4"},"ip":null}}`,
	} {
		value := []byte(in)
		hideAddresses(value, key.Truncate, 64)
		if string(value) != want {
			t.Errorf("%s became %s, want %s", in, value, want)
		}
	}
}

// Whatever the event, hiding leaves valid JSON of the same length, and no address that it should not.
func FuzzHideAddresses(f *testing.F) {
	for _, s := range []string{`{"context":{"ip":"203.0.113.77"}}`, `{"original":{"context":{"ip":[1,{"a":"::1"}]}}}`, `{"context":{"ip":-1.5e3}}`,
		`{"context":{"\u0069p":"2001:db8::1","ip":false}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e event.Event
		if e.Decode(data, event.DefaultLimits()) != nil {
			data = []byte(`{"anonymous_id":"a","event_type":"page","context":{"ip":` + string(data) + `}}`)
			if e.Decode(data, event.DefaultLimits()) != nil {
				return
			}
		}
		for _, mode := range []key.AddressMode{key.Truncate, key.Drop} {
			value := bytes.Clone(data)
			hideAddresses(value, mode, 64)
			if len(value) != len(data) || e.Decode(value, event.DefaultLimits()) != nil || !json.Valid(value) {
				t.Fatalf("%s became %s", data, value)
			}
			var got struct{ Context struct{ IP any } }
			if json.Unmarshal(value, &got) != nil {
				continue // a context that is no object for encoding/json either
			}
			text, _ := got.Context.IP.(string)
			a, err := netip.ParseAddr(text)
			if text != "" && (err != nil || mode == key.Drop || a != event.TruncateAddress(a)) {
				t.Fatalf("%s became %s", data, value)
			}
		}
	})
}

// What a tenant has blocked is answered as taken, or SDKs would throw its neighbours away as well; it is
// not kept, counted by list, and named in the answer to a server's batch.
func TestBlocked(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.TrustedProxies = prefixes(t, "127.0.0.0/8") }})
	s := event.DefaultSettings()
	s.Blocked = map[string][]string{
		event.BlockedIPs: {"203.0.113.0/24", "2001:db8::7"}, event.BlockedUserAgents: {"EvilBot"},
		event.BlockedEventNames: {"Debug"}, event.BlockedAnonymousIDs: {"tester"},
	}
	r.private(s)
	track := func(name, id, context string) string {
		return `{"anonymous_id":"` + id + `","event_type":"track","event_name":"` + name + `","context":` + context + `}`
	}
	sdk := `{"type":"track","event":"Debug","anonymousId":"a"}`
	counted := map[string]float64{}
	for _, c := range []struct{ name, path, key, body, ip, agent, list string }{
		{"nothing blocked", "/ingest", privateTracker, page, "198.51.100.1", "Mozilla/5.0", ""},
		{"a network", "/ingest", privateTracker, page, "203.0.113.9", "Mozilla/5.0", event.BlockedIPs},
		{"an address", "/ingest", privateTracker, page, "2001:db8::7", "Mozilla/5.0", event.BlockedIPs},
		{"the next address", "/ingest", privateTracker, page, "2001:db8::8", "Mozilla/5.0", ""},
		{"part of a user agent", "/ingest", privateTracker, page, "", "Mozilla/5.0 (compatible; evilbot/2.0)", event.BlockedUserAgents},
		{"a server of theirs is no visitor", "/ingest", privateServer, page, "203.0.113.9", "evilbot", ""},
		{"the visitor a server names", "/ingest", privateServer, track("x", "a", `{"ip":"203.0.113.9"}`), "", "", event.BlockedIPs},
		{"the agent a server names", "/ingest", privateServer, track("x", "a", `{"user_agent":"an EVILBOT"}`), "", "", event.BlockedUserAgents},
		{"a name", "/ingest", privateTracker, track("Debug", "a", `{}`), "", "", event.BlockedEventNames},
		{"another case is another name", "/ingest", privateTracker, track("debug", "a", `{}`), "", "", ""},
		{"a device", "/ingest", privateTracker, track("x", "tester", `null`), "", "", event.BlockedAnonymousIDs},
		{"an SDK's message", "/v1/track", privateTracker, sdk, "", "", event.BlockedEventNames},
		{"an SDK's batch", "/v1/batch", privateTracker, `{"batch":[` + sdk + `]}`, "", "", event.BlockedEventNames},
		{"an SDK's user agent", "/v1/page", privateServer, `{"type":"page","anonymousId":"a","context":{"userAgent":"evilBOT"}}`, "", "", event.BlockedUserAgents},
		{"another tenant", "/ingest", trackerKey, track("Debug", "tester", `{}`), "203.0.113.9", "evilbot", ""},
	} {
		headers := []string{"User-Agent", c.agent}
		if c.ip != "" {
			headers = append(headers, "X-Forwarded-For", c.ip)
		}
		a := r.post(c.path, c.key, jsonType, c.body, headers...)
		blocked := strings.Contains(string(a.body), `"status":"blocked"`)
		if a.status != 200 || c.path == "/ingest" && blocked != (c.list != "") {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if c.list != "" {
			counted[c.list]++
		}
		for _, list := range key.ListNames[1:] {
			if got := r.metric("keystone_edge_blocked_events_total", "list", list); got != counted[list] {
				t.Fatalf("%s: %v blocked by %s, want %v", c.name, got, list, counted[list])
			}
		}
	}
	a := r.post("/ingest/batch", privateServer, jsonType, "["+track("Debug", "a", `{}`)+","+page+"]")
	rejected := a.json(t)["rejected"].([]any)
	if a.status != 202 || len(rejected) != 1 || rejected[0].(map[string]any)["code"] != "blocked" || rejected[0].(map[string]any)["index"] != 0.0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.post("/ingest", privateTracker, jsonType, `{"event_type":"track"}`, "X-Forwarded-For", "203.0.113.9"); a.status != 400 {
		t.Errorf("what is no event is told so, blocked or not: %d", a.status)
	}
	r.records(event.TopicEvents, 5)
	r.conserved()
}

// Corpus: no file, put where an address is, comes out with more than its network, or breaks the event.
func TestHideAddressesCorpus(t *testing.T) {
	files, err := filepath.Glob("../../internal/jsonscan/testdata/jsontestsuite/y_*.json")
	if err != nil || len(files) < 90 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		value := []byte(`{"anonymous_id":"a","event_type":"page","context":{"ip":` + string(data) + `}}`)
		hideAddresses(value, key.Truncate, 64)
		var e event.Event
		if err := e.Decode(value, event.DefaultLimits()); err != nil {
			t.Errorf("%s became %s: %v", file, value, err)
		}
	}
}
