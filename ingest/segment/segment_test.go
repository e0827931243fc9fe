package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rewrite(t *testing.T, text string, a Around) (string, error) {
	t.Helper()
	var m Message
	if err := m.Parse([]byte(text), event.DefaultLimits()); err != nil {
		return "", err
	}
	out, err := m.Native(nil, a, event.DefaultLimits())
	return string(out), err
}

// mapped is the native form without the original, which must be the message itself.
func mapped(t *testing.T, text string, a Around) string {
	t.Helper()
	out, err := rewrite(t, text, a)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	head, ok := strings.CutSuffix(out, `"original":`+text+`}`)
	if !ok {
		t.Fatalf("the original is not kept: %s", out)
	}
	return strings.TrimSuffix(head, ",") + "}"
}

func TestNative(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		a              Around
	}{
		{"track, as analytics-node sends it",
			`{"messageId":"node-next-1","anonymousId":"a","userId":"u","type":"track","event":"Order Completed","properties":{"total":100.00},"timestamp":"2026-11-23T10:00:00.123Z","context":{"library":{"name":"@segment/analytics-node"}},"integrations":{},"_metadata":{"nodeVersion":"20"}}`,
			`{"message_id":"node-next-1","anonymous_id":"a","identity":"u","event_type":"track","event_name":"Order Completed","payload":{"total":100.00},"timestamp":"2026-11-23T10:00:00.123Z","sent_at":"S","context":{"library":{"name":"@segment/analytics-node"}}}`,
			Around{SentAt: []byte(`"S"`)}},
		{"originalTimestamp, as rudder-sdk-node sends it",
			`{"type":"track","event":"e","userId":"u","originalTimestamp":"O","messageId":"m"}`,
			`{"message_id":"m","identity":"u","event_type":"track","event_name":"e","timestamp":"O"}`, Around{}},
		{"timestamp before originalTimestamp", `{"event":"e","timestamp":"T","originalTimestamp":"O"}`,
			`{"event_type":"track","event_name":"e","timestamp":"T"}`, Around{Type: Track}},
		{"a null timestamp is none", `{"event":"e","timestamp":null,"originalTimestamp":"O"}`,
			`{"event_type":"track","event_name":"e","timestamp":"O"}`, Around{Type: Track}},
		{"the message's sentAt before the batch's", `{"event":"e","sentAt":"M"}`,
			`{"event_type":"track","event_name":"e","sent_at":"M"}`, Around{Type: Track, SentAt: []byte(`"B"`)}},
		{"null ids are absent", `{"type":"page","userId":null,"anonymousId":"a","name":null,"context":null,"properties":null}`,
			`{"anonymous_id":"a","event_type":"page"}`, Around{}},
		{"what is no id is absent", `{"type":"page","userId":false,"anonymousId":["a"],"messageId":{},"context":[],"properties":"x"}`,
			`{"event_type":"page"}`, Around{}},
		{"numbers keep every digit", `{"type":"page","userId":12345678901234567890,"anonymousId":1e3,"messageId":7,"properties":{"n":9007199254740993}}`,
			`{"message_id":"7","anonymous_id":1e3,"identity":12345678901234567890,"event_type":"page","payload":{"n":9007199254740993}}`, Around{}},
		{"the path's type before the message's", `{"type":"track","event":"e","userId":"u"}`,
			`{"identity":"u","event_type":"page","event_name":"e"}`, Around{Type: Page}},
		{"a page's name", `{"type":"page","name":"Home","category":"Docs","userId":"u","properties":{}}`,
			`{"identity":"u","event_type":"page","event_name":"Home","payload":{}}`, Around{}},
		{"screen", `{"type":"screen","name":"Main","userId":"u","properties":{"a":1}}`,
			`{"identity":"u","event_type":"page","event_name":"Main","payload":{"a":1,"kind":"screen"}}`, Around{}},
		{"screen without properties", `{"type":"screen","userId":"u"}`,
			`{"identity":"u","event_type":"page","payload":{"kind":"screen"}}`, Around{}},
		{"screen with empty properties and a kind", `{"type":"screen","userId":"u","properties":{ }}`,
			`{"identity":"u","event_type":"page","payload":{ "kind":"screen"}}`, Around{}},
		{"identify", `{"type":"identify","userId":"u","event":"ignored","traits":{"email":"a@b.co"},"properties":{"x":1}}`,
			`{"identity":"u","event_type":"identify","payload":{"email":"a@b.co"}}`, Around{}},
		{"identify, as analytics-js of RudderStack sends it: the traits are in the context only",
			`{"type":"identify","userId":"u","context":{"traits":{"email":"a@b.co"}}}`,
			`{"identity":"u","event_type":"identify","payload":{"email":"a@b.co"},"context":{"traits":{"email":"a@b.co"}}}`, Around{}},
		{"identify with empty traits is one without", `{"type":"identify","userId":"u","traits":{ },"context":{"traits":{"a":1}}}`,
			`{"identity":"u","event_type":"identify","payload":{"a":1},"context":{"traits":{"a":1}}}`, Around{}},
		{"identify's own traits before the context's", `{"type":"identify","userId":"u","traits":{"a":1},"context":{"traits":{"email":"a@b.co"}}}`,
			`{"identity":"u","event_type":"identify","payload":{"a":1},"context":{"traits":{"email":"a@b.co"}}}`, Around{}},
		{"identify without any traits", `{"type":"identify","userId":"u","traits":{},"context":{"traits":null}}`,
			`{"identity":"u","event_type":"identify","payload":{},"context":{"traits":null}}`, Around{}},
		{"group", `{"type":"group","userId":"u","groupId":42,"traits":{"plan":"x"}}`,
			`{"identity":"u","event_type":"group","payload":{"plan":"x"},"group_id":42}`, Around{}},
		{"alias", `{"type":"alias","userId":"u","previousId":"a"}`,
			`{"identity":"u","event_type":"alias","previous_id":"a"}`, Around{}},
		{"the last of a duplicated member", `{"type":"track","event":"a","event":"b","userId":"u","userId":null}`,
			`{"event_type":"track","event_name":"b"}`, Around{}},
		{"a batch's context fills the message's", `{"type":"page","context":{"a":1}}`,
			`{"event_type":"page","context":{"a":1,"l\"\u000a":{"v":2.0}}}`, Around{Context: []byte(`{"a":9,"l\"\n":{"v":2.0}}`)}},
		{"a batch's context alone", `{"type":"page"}`,
			`{"event_type":"page","context":{"l":1}}`, Around{Context: []byte(`{"l":1}`)}},
		{"a batch's context and an empty one", `{"type":"page","context":{ }}`,
			`{"event_type":"page","context":{ "l":1}}`, Around{Context: []byte(`{"l":1}`)}},
		{"escapes stay escapes", `{"type":"track","event":"\ud800 \u0000 \"","anonymousId":"\u0061"}`,
			`{"anonymous_id":"\u0061","event_type":"track","event_name":"\ud800 \u0000 \""}`, Around{}},
		{"hostile names", `{"type":"track","event":"e","__proto__":{},"":1,"original":{"x":1}}`,
			`{"event_type":"track","event_name":"e"}`, Around{}},
		{"short type", `{"type":"Track","event":"e"}`, `{"event_type":"track","event_name":"e"}`, Around{}},
	} {
		if got := mapped(t, c.in, c.a); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, code string }{
		"no object":    {`[]`, event.CodeInvalidJSON},
		"no JSON":      {`{"type":`, event.CodeInvalidJSON},
		"no type":      {`{"event":"e"}`, event.CodeInvalidEvent},
		"unknown type": {`{"type":"delete"}`, event.CodeInvalidEvent},
		"type no text": {`{"type":1}`, event.CodeInvalidEvent},
		"too deep":     {`{"type":"page","x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, event.CodeInvalidJSON},
		"too large":    {`{"type":"page","x":"` + strings.Repeat("x", 900<<10) + `"}`, event.CodeTooLarge},
	} {
		_, err := rewrite(t, c.in, Around{})
		var verdict *event.Error
		if !errors.As(err, &verdict) || verdict.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message of the deepest allowed nesting is still decodable with the original around it.
func TestDeepestMessageDecodes(t *testing.T) {
	out, err := rewrite(t, `{"type":"page","userId":"u","x":`+strings.Repeat("[", 62)+strings.Repeat("]", 62)+`}`, Around{})
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if err := e.Decode([]byte(out), event.DefaultLimits()); err != nil {
		t.Error(err)
	}
}

// A message that would not fit twice keeps all of its members once.
func TestLargeMessageKeepsTheRest(t *testing.T) {
	big := strings.Repeat("x", 600<<10)
	text := `{"type":"track","event":"e","messageId":5,"userId":"u","properties":{"big":"` + big + `"},"timestamp":"T","originalTimestamp":"O","integrations":{"All":true},"n":1.00,"\"q\"":[]}`
	out, err := rewrite(t, text, Around{})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"message_id":"5","identity":"u","event_type":"track","event_name":"e","payload":{"big":"` + big + `"},"timestamp":"T","original":{"type":"track","originalTimestamp":"O","integrations":{"All":true},"n":1.00,"\"q\"":[]}}`
	if out != want {
		t.Errorf("%s", strings.ReplaceAll(out, big, "…"))
	}
	if _, err := rewrite(t, `{"type":"track","event":"e","userId":"u","x":"`+strings.Repeat("x", 900<<10-45)+`"}`, Around{}); err == nil {
		t.Error("what does not fit in the native form must be refused")
	}
}

func TestSecretKeysStayOut(t *testing.T) {
	text := `{"type":"page","userId":"u","writeKey":"ks_int_secret","name":"n","extra":1}`
	out, err := rewrite(t, text, Around{Secret: true})
	if err != nil || strings.Contains(out, "ks_int_secret") || !strings.Contains(out, `"original":{"type":"page","extra":1}`) {
		t.Errorf("%s %v", out, err)
	}
	if out := mapped(t, text, Around{}); out == "" { // a tracker key is public
		t.Error("empty")
	}
}

func TestWriteKeyAndUserAgent(t *testing.T) {
	var m Message
	if err := m.Parse([]byte(`{"writeKey":"\u006bs","context":{"userAgent":"Mozilla/5.0 \"x\""}}`), event.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if string(m.WriteKey()) != "ks" || string(m.UserAgent()) != `Mozilla/5.0 "x"` {
		t.Errorf("%s %s", m.WriteKey(), m.UserAgent())
	}
	if err := m.Parse([]byte(`{"writeKey":7,"context":[]}`), event.DefaultLimits()); err != nil || m.WriteKey() != nil || m.UserAgent() != nil {
		t.Error("not text")
	}
}

func TestTypeOf(t *testing.T) {
	for name, want := range map[string]Type{"track": Track, "t": Track, "p": Page, "i": Identify, "s": Screen, "g": Group, "a": Alias,
		"Identify": Identify, "T": Unknown, "": Unknown, "batch": Unknown, "b": Unknown, "tracks": Unknown} {
		if got := TypeOf([]byte(name)); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// Real messages of other people's SDKs: each becomes an event with the same facts.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/fixtures/*.json")
	if err != nil || len(files) < 15 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages := [][]byte{payload.Trim(text)}
		var a Around
		var b payload.Batch
		b.Reset(100)
		if b.Document(text, "batch") == nil {
			messages, a = b.Items, Around{SentAt: b.Other("sentAt"), Context: b.Other("context")}
		}
		for _, message := range messages {
			out, err := rewrite(t, string(message), a)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			var e event.Event
			if err := e.Decode([]byte(out), event.DefaultLimits()); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			var in struct {
				MessageID, AnonymousID, UserID, PreviousID string
				Type, Event, Name                          string
				GroupID                                    string
				Traits, Properties                         json.RawMessage
				Context                                    struct{ Traits json.RawMessage }
			}
			if err := json.Unmarshal(message, &in); err != nil {
				t.Fatal(file, err)
			}
			if string(e.MessageID) != in.MessageID || string(e.AnonymousID) != in.AnonymousID || string(e.PreviousID) != in.PreviousID || string(e.GroupID) != in.GroupID {
				t.Errorf("%s: ids %q %q %q", file, e.MessageID, e.AnonymousID, e.PreviousID)
			}
			if want := strings.Replace(in.Type, "screen", "page", 1); e.Type.String() != want {
				t.Errorf("%s: type %s", file, e.Type)
			}
			name := map[string]string{"track": in.Event, "page": in.Name, "screen": in.Name}[in.Type]
			if name == "" && in.Type == "screen" {
				name = in.Event // an old Android SDK
			}
			if string(e.Name) != name {
				t.Errorf("%s: name %q, want %q", file, e.Name, name)
			}
			body := in.Properties
			if in.Type == "identify" || in.Type == "group" {
				body = in.Traits
			}
			if in.Type == "identify" && body == nil {
				body = in.Context.Traits
			}
			if in.Type != "screen" && !bytes.Equal(e.Payload, body) {
				t.Errorf("%s: payload %s", file, e.Payload)
			}
			if original := event.Member([]byte(out), "original"); !bytes.Equal(original, message) {
				t.Errorf("%s: the original is changed", file)
			}
		}
	}
}

// Whatever comes: what is written is one valid JSON object within the limits, with the message
// inside, and the decoder never calls it broken JSON.
func FuzzNative(f *testing.F) {
	files, _ := filepath.Glob("testdata/fixtures/*.json")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(`{"library":{"name":"x"}}`), byte(0), false)
	}
	f.Add([]byte(`{"type":"screen","properties":{ },"context":{},"userId":1,"messageId":1}`), []byte(`{}`), byte(4), true)
	f.Fuzz(func(t *testing.T, text, context []byte, typ byte, secret bool) {
		lim := event.DefaultLimits()
		lim.EventBytes = 4 << 10 // so that the leftover form is met often
		text = payload.Trim(text)
		if jsonscan.Valid(context, 32) != nil || len(context) > 1000 {
			context = nil
		}
		var m Message
		if err := m.Parse(text, lim); err != nil {
			return
		}
		out, err := m.Native([]byte("before"), Around{Type: Type(typ % 7), Context: payload.Trim(context), Secret: secret}, lim)
		if err != nil {
			if string(out) != "before" {
				t.Fatalf("a refused message left %q", out)
			}
			return
		}
		out = bytes.TrimPrefix(out, []byte("before"))
		if err := jsonscan.Valid(out, lim.Depth); err != nil || !json.Valid(out) || len(out) > lim.EventBytes {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		var e event.Event
		var verdict *event.Error
		if err := e.Decode(out, lim); errors.As(err, &verdict) && verdict.Code != event.CodeInvalidEvent {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		if !secret && 3*len(text)+len(context)+300 < lim.EventBytes && !bytes.Equal(event.Member(out, "original"), text) {
			t.Fatalf("%q is not kept in %q", text, out)
		}
	})
}

func BenchmarkNative(b *testing.B) {
	text, err := os.ReadFile("testdata/fixtures/rudder-messages_facebook-pixel-track-order-completed.json")
	if err != nil {
		b.Fatal(err)
	}
	text = payload.Trim(text)
	var m Message
	var out []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Parse(text, event.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
		if out, err = m.Native(out[:0], Around{}, event.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}
