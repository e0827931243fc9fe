package consume

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/outbox"
)

var (
	someTenant = uuid.MustParse("11111111-1111-4111-8111-111111111111")
	received   = time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
)

func decodeOne(t *testing.T, meta event.Meta, text string) item {
	t.Helper()
	d := decoder{Decoder: Decoder{Limits: event.DefaultLimits()}, metrics: NewMetrics(prometheus.NewRegistry())}
	s := event.DefaultSettings()
	items, tenants := d.meta([]*kgo.Record{{Topic: event.TopicEvents, Partition: 2, Offset: 7, Value: []byte(text), Headers: meta.Headers()}})
	if _, ok := tenants[someTenant]; !ok || len(tenants) != 1 {
		t.Fatalf("tenants %v", tenants)
	}
	d.events(items, map[uuid.UUID]*event.Settings{someTenant: &s})
	return items[0]
}

func TestDecode(t *testing.T) {
	it := decodeOne(t, event.Meta{Tenant: someTenant, ReceivedAt: received, MessageID: "minted"},
		`{"anonymous_id":"d\u0000","identity":"A@B.example","event_type":"track","event_name":"Caf\u00e9\u0000","payload":{"n":1.50},
		"context":{"traits":{"a":1},"x":2},"timestamp":"2026-11-23T09:00:00Z"}`)
	if it.dead != nil {
		t.Fatal(it.dead.Detail)
	}
	e := it.event
	if e.Tenant != someTenant || e.MessageID != "minted" || e.Type != event.Track || e.Name != "Café\uFFFD" || string(e.Payload) != `{"n":1.50}` ||
		string(e.Traits) != `{"a":1}` || !e.At.Equal(received.Truncate(time.Hour).Add(-time.Hour)) || !e.ReceivedAt.Equal(received) {
		t.Errorf("%+v", e)
	}
	if len(e.IDs.Anonymous) != 1 || e.IDs.Anonymous[0].Value != "d\uFFFD" || len(e.IDs.Verified) != 1 || e.IDs.Verified[0].Value != "a@b.example" {
		t.Errorf("%+v", e.IDs)
	}
}

func TestMessageIDs(t *testing.T) {
	for name, x := range map[string]struct{ minted, member, want string }{
		"the client's counts":         {"minted", `"message_id":"mine",`, "mine"},
		"else the edge's":             {"minted", ``, "minted"},
		"an empty one is none":        {"minted", `"message_id":"",`, "minted"},
		"else the place in the log":   {"", ``, "log:keystone.events/2/7"},
		"NUL is replaced":             {"", `"message_id":"a\u0000b",`, "a\uFFFDb"},
		"what is not UTF-8 as well":   {"a\xff", ``, "a\uFFFD"},
		"a lone surrogate is one too": {"", `"message_id":"a\ud800",`, "a\uFFFD"},
	} {
		it := decodeOne(t, event.Meta{Tenant: someTenant, ReceivedAt: received, MessageID: x.minted}, `{`+x.member+`"anonymous_id":"d","event_type":"page"}`)
		if it.dead != nil || it.event.MessageID != x.want {
			t.Errorf("%s: %+v", name, it.event)
		}
	}
}

// A record given up keeps what it was, says where it came from, and remembers earlier attempts.
func TestDeadRecord(t *testing.T) {
	r := &kgo.Record{Topic: event.TopicBackfill, Partition: 1, Offset: 9, Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{
		{Key: "tenant", Value: []byte("t")}, {Key: HeaderReason, Value: []byte("old")}, {Key: HeaderAttempts, Value: []byte("yesterday\n")}}}
	got, attempts := deadRecord(r, ReasonNotApplied, "why")
	headers := map[string]string{}
	for _, h := range got.Headers {
		headers[h.Key] += string(h.Value)
	}
	if string(got.Key) != "k" || string(got.Value) != "v" || got.Topic != event.TopicDLQ || headers["tenant"] != "t" || headers[HeaderReason] != ReasonNotApplied ||
		headers[HeaderTopic] != event.TopicBackfill || headers[HeaderPartition] != "1" || headers[HeaderOffset] != "9" || headers[HeaderError] != "why" {
		t.Errorf("%v", headers)
	}
	if lines := strings.Split(headers[HeaderAttempts], "\n"); len(lines) != 3 || attempts != 2 || lines[0] != "yesterday" || !strings.Contains(lines[1], "not_applied: why") {
		t.Errorf("%q", headers[HeaderAttempts])
	}
	r.Value = make([]byte, outbox.MaxRecordBytes+1)
	got, _ = deadRecord(r, ReasonInvalidEvent, "too large")
	if got.Value != nil || string(got.Headers[len(got.Headers)-1].Value) != "983041" {
		t.Errorf("%d bytes, %v", len(got.Value), got.Headers[len(got.Headers)-1])
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := Config{}.Validate()
	if err == nil {
		t.Fatal("an empty configuration is valid")
	}
	for _, rule := range []string{"brokers", "group", "instance", "batch_records", "queue_bytes", "poison_attempts", "fence_wait", "tenant_ttl"} {
		if !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
	ok := DefaultConfig()
	ok.Brokers, ok.Instance = []string{"x"}, "y"
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}
