package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// member is one of an object, as encoding/json reads it.
type member struct {
	key string
	raw json.RawMessage
}

// slowMembers reads an object with encoding/json; duplicates are kept. ok is false for what is no
// object at all.
func slowMembers(data []byte) (out []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		m := member{key: key.(string)}
		if d.Decode(&m.raw) != nil {
			return nil, false
		}
		out = append(out, m)
	}
	return out, true
}

// slowDepth is how deep valid JSON nests.
func slowDepth(data []byte) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return deepest
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func isString(raw []byte) bool { return raw[0] == '"' }
func isNumber(raw []byte) bool { return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' }
func isObject(raw []byte) bool { return raw[0] == '{' }

// slowText is the text of a string or number.
func slowText(raw []byte) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

// slowEvent is what an event says, as encoding/json and the rules of the specification have it: the last
// of a duplicated member counts, null is absence, and every one of them must be of its type.
type slowEvent struct {
	values map[string]json.RawMessage
	bad    bool
}

func slowDecode(members []member) slowEvent {
	e := slowEvent{values: map[string]json.RawMessage{}}
	types, badName := 0, false
	for _, m := range members {
		if string(m.raw) == "null" {
			if m.key == "event_type" {
				types++
				e.bad = true
			}
			if m.key == "event_name" {
				badName = false
			}
			delete(e.values, m.key)
			continue
		}
		switch m.key {
		case "event_type":
			types++
			e.bad = e.bad || !isString(m.raw) || TypeOf([]byte(slowText(m.raw))) == Unknown
		case "message_id":
			e.bad = e.bad || !isString(m.raw)
		case "anonymous_id", "previous_id", "group_id":
			e.bad = e.bad || !isString(m.raw) && !isNumber(m.raw)
		case "identity":
			e.bad = e.bad || !isString(m.raw) && !isNumber(m.raw) && !isObject(m.raw)
		case "payload", "context":
			e.bad = e.bad || !isObject(m.raw)
		case "event_name":
			badName = !isString(m.raw)
		}
		e.values[m.key] = m.raw
	}
	if e.bad = e.bad || types != 1; e.bad {
		return e
	}
	lim := DefaultLimits()
	text := func(key string) string {
		if raw := e.values[key]; raw != nil {
			return slowText(raw)
		}
		return ""
	}
	typ := TypeOf([]byte(text("event_type")))
	name := ""
	if !badName {
		name = text("event_name")
	}
	e.bad = len(text("message_id")) > lim.MessageIDBytes || len(text("anonymous_id")) > lim.IdentityBytes ||
		len(text("previous_id")) > 4*lim.IdentityBytes ||
		e.values["identity"] != nil && !isObject(e.values["identity"]) && len(e.values["identity"]) > 4*lim.IdentityBytes ||
		typ != Identify && badName || len(name) > lim.NameBytes || typ == Track && strings.TrimSpace(name) == "" ||
		typ == Group && text("group_id") == ""
	return e
}

// FuzzDecode holds the fast decoder against encoding/json: what is valid, what a member's text is, which
// of two members counts, what is no event.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"anonymous_id":"a","event_type":"page"}`, `{"event_type":"track","event_name":"Order Completed","payload":{"price":100.00,"n":9007199254740993}}`,
		`{"event_type":"page","event_type":"page"}`, `{"event_type":"identify","event_name":7,"identity":{"email":"a@b.c"}}`, `{"event_type":"page","payload":[]}`,
		`{"anonymous_id":1e3,"event_type":"page","anonymous_id":null}`, `{"event_type":"group","group_id":"g"}`, `{"\u0065vent_type":"page","message_id":"\ud800\u0000"}`,
		`{"ANONYMOUS_ID":"a","event_type":"alias","previous_id":12345678901234567890}`, `{"event_type":"page","context":{"a":[[[[]]]]}}`, `[]`, `7`,
		"{\"event_type\":\"page\",\"anonymous_id\":\"\xff\"}", `{"event_type":"page","event_name":7,"event_name":"x"}`,
	} {
		f.Add([]byte(s))
	}
	files, err := filepath.Glob("../jsonscan/testdata/jsontestsuite/*.json")
	if err != nil || len(files) < 300 {
		f.Fatal(len(files), err)
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && len(data) < 1024 {
			f.Add([]byte(`{"event_type":"page","anonymous_id":"a","payload":{"x":` + string(data) + `}}`))
		}
	}
	lim, settings := DefaultLimits(), DefaultSettings()
	var e Event // used again and again, as in the edge: nothing of one event may show in the next
	var ids Identifiers
	f.Fuzz(func(t *testing.T, data []byte) {
		err := e.Decode(data, lim)
		var verdict *Error
		if err != nil && !errors.As(err, &verdict) {
			t.Fatalf("%q: %v is no verdict", data, err)
		}
		valid := json.Valid(data) && utf8.Valid(data)
		members, object := slowMembers(data)
		switch {
		case len(data) > lim.EventBytes:
			return
		case !valid:
			// A member of a wrong type may be met before what is no JSON.
			if err == nil {
				t.Fatalf("%q is taken, and is no JSON", data)
			}
			return
		case slowDepth(data) > lim.Depth:
			if err == nil {
				t.Fatalf("%q is taken, and nests %d deep", data, slowDepth(data))
			}
			return
		case !object:
			if err == nil || verdict.Code != CodeInvalidEvent {
				t.Fatalf("%q: %v, and is valid JSON", data, err)
			}
			return
		}
		want := slowDecode(members)
		if want.bad != (err != nil) || err != nil && verdict.Code != CodeInvalidEvent {
			t.Fatalf("%q: %v, want bad: %v", data, err, want.bad)
		}
		if err != nil {
			return
		}
		for key, got := range map[string][]byte{"message_id": e.MessageID, "anonymous_id": e.AnonymousID, "previous_id": e.PreviousID, "group_id": e.GroupID} {
			if raw := want.values[key]; (raw == nil) != (got == nil) || raw != nil && slowText(raw) != string(got) {
				t.Fatalf("%q: %s is %q, want %s", data, key, got, raw)
			}
		}
		for key, got := range map[string][]byte{"identity": e.Identity, "payload": e.Payload, "context": e.Context, "timestamp": e.Timestamp, "sent_at": e.SentAt} {
			if !bytes.Equal(want.values[key], got) {
				t.Fatalf("%q: %s is %q, want %s", data, key, got, want.values[key])
			}
		}
		if at, _ := e.Time(received); at.After(received) || at.Unix() < 0 {
			t.Fatalf("%q: happened at %s", data, at)
		}
		e.Identifiers(tenant, &settings, &ids)
		for _, list := range [][]Identifier{ids.Anonymous, ids.Verified} {
			for _, id := range list {
				if id.Value == "" || !utf8.ValidString(id.Value) {
					t.Fatalf("%q names %q", data, id.Value)
				}
			}
		}
	})
}

var received = time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)

// FuzzTime: what time.Parse takes as RFC 3339 is read as that, and nothing is later than it was received.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T09:00:00Z", "2026-11-23 10:00:00.5+01:00", "2026-02-30T00:00:00Z", "9999-12-31T23:59:60Z", "0000-01-01t00:00:00z"} {
		f.Add(s, "2026-11-23T09:00:01Z", int64(1763884800123))
	}
	f.Fuzz(func(t *testing.T, stamp, sent string, millis int64) {
		quoted, _ := json.Marshal(stamp)
		sentAt, _ := json.Marshal(sent)
		number, _ := json.Marshal(millis)
		for _, raw := range [][]byte{quoted, number} {
			e := Event{Timestamp: raw}
			at, note := e.Time(received)
			if at.After(received) || at.Unix() < 0 {
				t.Fatalf("%s happened at %s", raw, at)
			}
			if want, err := time.Parse(time.RFC3339Nano, stamp); jsonscan.KindOf(raw) == jsonscan.String && err == nil && len(stamp) <= 40 &&
				want.Unix() >= 0 && !want.After(received.Truncate(time.Millisecond)) && (note != TimeOK || !at.Equal(want.Truncate(time.Millisecond))) {
				t.Fatalf("%s was read as %s (%d)", stamp, at, note)
			}
			e.SentAt = sentAt
			if at, _ := e.Time(received); at.After(received) || at.Unix() < 0 {
				t.Fatalf("%s sent at %s happened at %s", raw, sentAt, at)
			}
		}
	})
}

// FuzzReadMeta: strangers' headers are refused or read, and what is read is written as it was.
func FuzzReadMeta(f *testing.F) {
	m := Meta{Tenant: tenant, ReceivedAt: received, KeyID: "k", IP: "::1"}
	for _, h := range m.Headers() {
		f.Add(h.Key, h.Value)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		m := Meta{Tenant: tenant, ReceivedAt: received}
		m, err := ReadMeta(append(m.Headers(), kgo.RecordHeader{Key: key, Value: value}))
		if err != nil {
			if !errors.Is(err, ErrBadRecord) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ReadMeta(m.Headers()); err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

// FuzzSettings: whatever a settings file says is refused, or good enough to be read again from the store.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{`{"ip":"drop","blocked":{"ips":["10.0.0.0/8"],"user_agents":["bot"]}}`, `{"limits":{"email":3},"kinds":["a"]}`, `{"blocked":null}`, `{"blocked":{"ips":null}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DefaultSettings().Overlay(data)
		if err != nil {
			return
		}
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSettings(stored); err != nil {
			t.Fatalf("%s was taken, and cannot be read again: %v", data, err)
		}
	})
}
