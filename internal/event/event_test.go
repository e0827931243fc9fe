package event

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

var tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

func decode(t *testing.T, text string) *Event {
	t.Helper()
	e := new(Event)
	if err := e.Decode([]byte(text), DefaultLimits()); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                     CodeInvalidJSON,
		`[]`:                   CodeInvalidEvent,
		` null`:                CodeInvalidEvent,
		`[`:                    CodeInvalidJSON,
		`{"event_type":"page"`: CodeInvalidJSON,
		"{\"event_type\":\"page\",\"x\":\"\xff\"}": CodeInvalidJSON,
		`{}`:                    "event_type",
		`{"event_type":"Page"}`: "event_type",
		`{"event_type":"page","event_type":"page"}`:                                                       "event_type",
		`{"event_type":7}`:                                                                                "event_type",
		`{"event_type":"track"}`:                                                                          "event_name",
		`{"event_type":"track","event_name":"  "}`:                                                        "event_name",
		`{"event_type":"track","event_name":null}`:                                                        "event_name",
		`{"event_type":"page","payload":[]}`:                                                              "payload",
		`{"event_type":"page","payload":"x"}`:                                                             "payload",
		`{"event_type":"page","context":1}`:                                                               "context",
		`{"event_type":"page","anonymous_id":{}}`:                                                         "anonymous_id",
		`{"event_type":"page","anonymous_id":true}`:                                                       "anonymous_id",
		`{"event_type":"page","identity":["a"]}`:                                                          "identity",
		`{"event_type":"page","message_id":1}`:                                                            "message_id",
		`{"event_type":"page","message_id":"` + strings.Repeat("m", 129) + `"}`:                           "message_id",
		`{"event_type":"page","anonymous_id":"` + strings.Repeat("a", 257) + `"}`:                         "anonymous_id",
		`{"event_type":"page","payload":{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}}`: CodeInvalidJSON,
		`{"event_type":"page","payload":{"a":"` + strings.Repeat("x", 900<<10) + `"}}`:                    CodeTooLarge,
	} {
		var e Event
		err := e.Decode([]byte(text), DefaultLimits())
		var verdict *Error
		if !errors.As(err, &verdict) {
			t.Errorf("%.80s: %v", text, err)
			continue
		}
		if verdict.Code != want && verdict.Field != want {
			t.Errorf("%.80s: got %v, want %s", text, verdict, want)
		}
	}
}

func TestDecodeTakes(t *testing.T) {
	decode(t, `{"event_type":"identify","anonymous_id":"a","event_name":1}`)
	e := decode(t, `{"message_id":"a\"b","anonymous_id":12345678901234567890,"identity":null,"event_type":"track",
		"event_name":"Caf\u00e9 \ud800","payload":{"n":9007199254740993},"ANONYMOUS_ID":"x","extra":[1],"anonymous_id":1e3}`)
	if string(e.MessageID) != `a"b` || string(e.AnonymousID) != "1e3" || e.Identity != nil || string(e.Name) != "Café \ufffd" {
		t.Errorf("%q %q %q %q", e.MessageID, e.AnonymousID, e.Identity, e.Name)
	}
	if string(e.Payload) != `{"n":9007199254740993}` {
		t.Errorf("%s", e.Payload)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	data, err := os.ReadFile("../jsonscan/testdata/event400.json")
	if err != nil {
		t.Fatal(err)
	}
	var e Event
	lim := DefaultLimits()
	if n := testing.AllocsPerRun(100, func() {
		if err := e.Decode(data, lim); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func names(e *Event, s Settings) (out []string, dropped int) {
	var ids Identifiers
	e.Identifiers(tenant, &s, &ids)
	for _, id := range append(ids.Anonymous, ids.Verified...) {
		out = append(out, id.Kind+"="+id.Value)
	}
	return out, ids.Dropped
}

func TestIdentifiers(t *testing.T) {
	own := DefaultSettings()
	own.Kinds = []string{"loyalty", "apple_id"}
	own.DefaultRegion = "DE"
	for _, c := range []struct {
		event    string
		want     string
		dropped  int
		settings Settings
	}{
		{`{"event_type":"page","anonymous_id":" a1 "}`, "anonymous=a1", 0, DefaultSettings()},
		{`{"event_type":"page","anonymous_id":"a","identity":" Ann@Example.COM "}`, "anonymous=a email=ann@example.com", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"+49 170 1234567"}`, "phone=+491701234567", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"+notaphone"}`, "crm_id=+notaphone", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"ann@localhost"}`, "crm_id=ann@localhost", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"a@b@c.de"}`, "crm_id=a@b@c.de", 0, DefaultSettings()},
		{`{"event_type":"page","identity":12345678901234567890}`, "crm_id=12345678901234567890", 0, DefaultSettings()},
		{`{"event_type":"page","anonymous_id":"a","identity":"[object Object]"}`, "anonymous=a", 1, DefaultSettings()},
		{`{"event_type":"page","anonymous_id":"\"NULL\"","identity":" guest "}`, "", 2, DefaultSettings()},
		{`{"event_type":"page","anonymous_id":0,"identity":-1}`, "", 2, DefaultSettings()},
		{`{"event_type":"page","identity":{"email":"A@b.co","crm_id":7,"phone":null,"shoe":"9"}}`, "crm_id=7 email=a@b.co", 1, DefaultSettings()},
		{`{"event_type":"page","identity":{"apple_id":"x","loyalty":"L1","email":"a@b.co","phone":"0170 1234567"}}`,
			"email=a@b.co phone=+491701234567 loyalty=L1 apple_id=x", 0, own},
		{`{"event_type":"identify","anonymous_id":"a","payload":{"email":"a@b.co","crm_id":"c","phone":true}}`, "anonymous=a crm_id=c email=a@b.co", 0, DefaultSettings()},
		{`{"event_type":"track","event_name":"x","anonymous_id":"a","payload":{"email":"a@b.co"}}`, "anonymous=a", 0, DefaultSettings()},
		{`{"event_type":"identify","anonymous_id":"a","context":{"traits":{"email":"a@b.co"}}}`, "anonymous=a email=a@b.co", 0, DefaultSettings()},
		{`{"event_type":"identify","identity":"c","context":{"traits":{"email":"a@b.co"}}}`, "crm_id=c", 0, DefaultSettings()},
		{`{"event_type":"identify","anonymous_id":"a","payload":{"email":"a@b.co"}}`, "anonymous=a", 0, Settings{}},
		{`{"event_type":"alias","anonymous_id":"a","previous_id":"b","identity":"c"}`, "anonymous=b anonymous=a crm_id=c", 0, DefaultSettings()},
		{`{"event_type":"alias","previous_id":"x@y.zz","identity":"c"}`, "crm_id=c email=x@y.zz", 0, DefaultSettings()},
		{`{"event_type":"page","anonymous_id":"a\u0000b"}`, "anonymous=a\ufffdb", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"Jose\u0301@x.org"}`, "email=josé@x.org", 0, DefaultSettings()},
		{`{"event_type":"page","identity":"00000000-0000-0000-0000-000000000000"}`, "", 1, DefaultSettings()},
	} {
		got, dropped := names(decode(t, c.event), c.settings)
		if strings.Join(got, " ") != c.want || dropped != c.dropped {
			t.Errorf("%s: got %q and %d dropped", c.event, got, dropped)
		}
	}
}

func TestCase_04_nobody_values(t *testing.T) {
	for _, nobody := range []string{`""`, `" "`, `"null"`, `"undefined"`, `"None"`, `"nil"`, `"NaN"`, `"anonymous"`, `"guest"`, `"unknown"`, `"true"`, `"false"`,
		`"0"`, `"-1"`, `0`, `-1`, `"[object Object]"`, `"00000000-0000-0000-0000-000000000000"`, `"\"null\""`, `"'Guest'"`} {
		got, dropped := names(decode(t, `{"event_type":"page","anonymous_id":"a","identity":`+nobody+`}`), DefaultSettings())
		if strings.Join(got, " ") != "anonymous=a" || dropped != 1 {
			t.Errorf("%s beside a device: got %q and %d dropped", nobody, got, dropped)
		}
		if got, _ := names(decode(t, `{"event_type":"page","identity":`+nobody+`}`), DefaultSettings()); len(got) > 0 {
			t.Errorf("%s alone: got %q", nobody, got)
		}
	}
}

func TestCase_05_numbers_keep_every_digit(t *testing.T) {
	for number, want := range map[string]string{`12345678901234567890`: "12345678901234567890", `9007199254740993`: "9007199254740993", `7`: "7"} {
		if got, _ := names(decode(t, `{"event_type":"page","identity":`+number+`}`), DefaultSettings()); strings.Join(got, " ") != "crm_id="+want {
			t.Errorf("%s: got %q", number, got)
		}
	}
}

func TestNodeIDIsRFC9562Version5(t *testing.T) {
	want := uuid.NewSHA1(tenant, []byte("email\x1fann@example.com"))
	if got := NodeID(tenant, "email", "ann@example.com"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCase_64_timestamps(t *testing.T) {
	received := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	ms := received.Truncate(time.Millisecond)
	for _, c := range []struct {
		members string
		want    time.Time
		note    TimeNote
	}{
		{``, ms, TimeOK},
		{`,"timestamp":null`, ms, TimeOK},
		{`,"timestamp":"2026-11-23T09:00:00Z"`, ms.Add(-time.Hour - 123*time.Millisecond), TimeOK},
		{`,"timestamp":"2026-11-23 10:00:00.5+01:00"`, time.Date(2026, 11, 23, 9, 0, 0, 5e8, time.UTC), TimeOK},
		{`,"timestamp":1763884800123.9`, time.UnixMilli(1763884800123), TimeOK},
		{`,"timestamp":"2026-11-23T08:00:00Z","sent_at":"2026-11-23T09:00:00Z"`, ms.Add(-time.Hour), TimeOK},
		{`,"timestamp":"2027-11-23T09:00:00Z","sent_at":"2027-11-23T09:00:01Z"`, ms, TimeInFuture},
		{`,"timestamp":"2026-11-23T09:00:00.123Z","sent_at":"2027-11-23T09:00:01Z"`, ms.Add(-time.Hour), SentAtIgnored},
		{`,"timestamp":"2026-11-24T10:00:00Z"`, ms, TimeInFuture},
		{`,"timestamp":"9999-12-31T23:59:59Z"`, ms, TimeInFuture},
		{`,"timestamp":-5`, ms, TimeUnparsable},
		{`,"timestamp":1e300`, ms, TimeUnparsable},
		{`,"timestamp":"1815-12-10T00:00:00Z"`, ms, TimeUnparsable},
		{`,"timestamp":"yesterday"`, ms, TimeUnparsable},
		{`,"timestamp":{}`, ms, TimeUnparsable},
		{`,"timestamp":"` + strings.Repeat("2", 10_000) + `"`, ms, TimeUnparsable},
	} {
		got, note := decode(t, `{"event_type":"page"`+c.members+`}`).Time(received)
		if !got.Equal(c.want) || note != c.note {
			t.Errorf("%.60s: got %s (%d), want %s (%d)", c.members, got, note, c.want, c.note)
		}
	}
}

func TestMetaRoundTrip(t *testing.T) {
	m := Meta{Tenant: tenant, ReceivedAt: time.UnixMicro(1763884800123456).UTC(), KeyID: "k", RequestID: "r",
		MessageID: "m", IdentityNode: NodeID(tenant, "email", "a"), IP: "::1", UserAgent: "ua", JobID: "j"}
	got, err := ReadMeta(m.Headers())
	if err != nil || got != m {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadMeta(nil); !errors.Is(err, ErrBadRecord) {
		t.Errorf("no headers: %v", err)
	}
}

// What a reader remembers of one record's headers says nothing of the next one's.
func TestMetaReaderForgets(t *testing.T) {
	r := MetaReader{Text: func(value []byte) string { return string(value) }}
	other := NodeID(tenant, "email", "other")
	value := func(id string) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: HeaderTenant, Value: []byte(id)}, {Key: HeaderReceivedAt, Value: []byte("1763884800123456")}}
	}
	for _, tt := range []struct {
		text string
		want uuid.UUID
	}{
		{"", uuid.Nil}, {tenant.String(), tenant}, {tenant.String(), tenant}, {other.String(), other}, {tenant.String()[:35], uuid.Nil},
		{"", uuid.Nil}, {other.String(), other}, {uuid.Nil.String(), uuid.Nil}, {tenant.String(), tenant},
	} {
		m, err := r.Read(value(tt.text))
		if m.Tenant != tt.want || (err == nil) != (tt.want != uuid.Nil) {
			t.Errorf("%q: %v, %v", tt.text, m.Tenant, err)
		}
	}
	if m, err := r.Read(value("")[1:]); m.Tenant != uuid.Nil || err == nil {
		t.Errorf("no tenant: %v, %v", m.Tenant, err)
	}
}

// The quick way says what time.Parse says, where it says anything.
func TestPlainTime(t *testing.T) {
	quick := 0
	for _, text := range []string{
		"2026-11-26T14:05:06Z", "2026-11-26T14:05:06.7Z", "1970-01-01T00:00:00.000000001Z", "0000-12-28T23:59:59.999999999Z", "9999-02-28T00:00:00.120Z",
		"2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-00-10T00:00:00Z", "2026-13-10T00:00:00Z", "2026-11-00T00:00:00Z",
		"2026-11-26T24:00:00Z", "2026-11-26T14:60:00Z", "2026-11-26T14:05:60Z", "2026-11-26T14:05:06.Z", "2026-11-26T14:05:06,5Z", "2026-11-26T14:05:06.5xZ",
		"2026-11-26T14:05:06.0000000001Z", "2026-11-26T14:05:06+00:00", "2026-11-26T14:05:06.50:00Z", "2026-11-26 14:05:06Z", "2026-11-2xT14:05:06Z", "2o26-11-26T14:05:06Z",
		"2026/11/26T14:05:06Z", "", "Z", "2026-11-26T14:05:0Z",
	} {
		at, ok := plainTime([]byte(text))
		if want, err := time.Parse(time.RFC3339Nano, text); ok && (err != nil || !at.Equal(want)) {
			t.Errorf("%q is %v; time.Parse: %v, %v", text, at, want, err)
		}
		if ok {
			quick++
		}
	}
	if quick != 5 {
		t.Errorf("%d the quick way, want the first five", quick)
	}
}

// Naughty strings come back as they went in: nothing in the decoder trips over text.
func TestNaughtyStrings(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(data, &all); err != nil || len(all) < 400 {
		t.Fatal(len(all), err)
	}
	for _, s := range all {
		text, _ := json.Marshal(map[string]any{"event_type": "page", "event_name": s, "anonymous_id": "a", "payload": map[string]string{s: s}})
		e := decode(t, string(text))
		if len(s) <= 1024 && string(e.Name) != s {
			t.Errorf("%q came back as %q", s, e.Name)
		}
	}
}
