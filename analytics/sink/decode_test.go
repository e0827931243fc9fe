package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// decode fills a row from a record.
func decode(d *decoder, record *kgo.Record, r *row) error {
	var o opened
	d.open(record, &o)
	return d.fill(&o, r)
}

// decodeRow is the row of an event.
func decodeRow(t *testing.T, value string, options ...func(*event.Meta)) *row {
	t.Helper()
	var r row
	if err := decode(newDecoder(event.DefaultLimits()), record(event.TopicEvents, 0, value, options...), &r); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return &r
}

func node(kind, value string) uuid.UUID { return event.NodeID(tenant, kind, value) }

// columns checks texts of a row: column, text, column, text …
func columns(t *testing.T, r *row, want map[int]string) {
	t.Helper()
	for column, text := range want {
		if r.text[column] != text {
			t.Errorf("%s is %q, want %q", textNames[column], r.text[column], text)
		}
	}
}

func TestDecodeColumns(t *testing.T) {
	r := decodeRow(t, `{"message_id":"m-1","anonymous_id":" dev-1 ","identity":"Ann@Example.com","event_type":"track","event_name":"Order Completed",
		"payload":{"order_id":1001,"revenue":"219.98","currency":"usd","product_id":"P-0","products":[{"product_id":"P-1"},{"sku":"S-2","id":"x"},{"id":3},{"product_id":" P-1 "},{},7]},
		"timestamp":"2026-11-23T11:00:00.123456Z",
		"context":{"page":{"url":"https://Shop.Example:8443/cart?utm_source=a%20b&utm_medium=cpc&utm_campaign=fall&utm_term=t&utm_content=c&gclid=G&gbraid=B&wbraid=W&fbclid=F&msclkid=M&ttclid=T#top",
			"referrer":"https://www.search.example/q?x=1","title":"Cart \u2013 Shop"},
			"user_agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
			"locale":"de-DE","ip":"10.0.0.1","library":{"name":"keystone.js","version":"1.2.0"}}}`,
		func(m *event.Meta) {
			m.IdentityNode, m.KeyID, m.RequestID, m.JobID = node("email", "ann@example.com"), "trk_1", "req-1", "job-1"
			m.ReceivedAt = noon
		})
	columns(t, r, map[int]string{
		colMessageID: "m-1", colEventType: "track", colEventName: "Order Completed", colAnonymousID: "dev-1", colIdentity: "Ann@Example.com",
		colURL:  "https://Shop.Example:8443/cart?utm_source=a%20b&utm_medium=cpc&utm_campaign=fall&utm_term=t&utm_content=c&gclid=G&gbraid=B&wbraid=W&fbclid=F&msclkid=M&ttclid=T#top",
		colHost: "shop.example", colPath: "/cart", colPageTitle: "Cart – Shop", colReferrer: "https://www.search.example/q?x=1", colReferringDomain: "www.search.example",
		colUTMSource: "a b", colUTMMedium: "cpc", colUTMCampaign: "fall", colUTMTerm: "t", colUTMContent: "c",
		colGclid: "G", colGbraid: "B", colWbraid: "W", colFbclid: "F", colMsclkid: "M", colTtclid: "T",
		colBrowser: "Safari", colBrowserVersion: "18.1", colOS: "iOS", colOSVersion: "18.1", colDeviceClass: "mobile",
		colLocale: "de-DE", colIP: "10.0.0.1", colOrderID: "1001", colCurrency: "USD", colLibraryName: "keystone.js", colLibraryVersion: "1.2.0",
		colKeyID: "trk_1", colRequestID: "req-1", colJobID: "job-1", colExtra: "{}",
	})
	if r.profileNode != node("anonymous", "dev-1") || r.identityNode != node("email", "ann@example.com") {
		t.Errorf("nodes %s %s", r.profileNode, r.identityNode)
	}
	if got := strings.Join(r.products, " "); got != "P-0 P-1 S-2 3" {
		t.Errorf("products %q", got)
	}
	if !r.hasRevenue || r.revenue.Low != 219_980_000_000 {
		t.Errorf("revenue %v %v", r.revenue, r.hasRevenue)
	}
	if want := time.Date(2026, 11, 23, 11, 0, 0, 123_000_000, time.UTC); !r.timestamp.Equal(want) {
		t.Errorf("timestamp %s", r.timestamp)
	}
}

func TestDecodeRules(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        map[int]string
	}{
		{"nothing given is empty objects and texts", `{"event_type":"page"}`,
			map[int]string{colPayload: "{}", colContext: "{}", colExtra: "{}", colURL: "", colBrowser: "curl", colMessageID: "minted", colIP: "198.51.100.7", colUserAgent: "curl/8.5.0"}},
		{"payload and context are kept to the byte", `{"event_type":"page","payload":{ "n" : 9007199254740993, "n":1e400 },"context":{"x":[1.0]}}`,
			map[int]string{colPayload: `{ "n" : 9007199254740993, "n":1e400 }`, colContext: `{"x":[1.0]}`}},
		{"the message id of the event goes before the edge's", `{"event_type":"page","message_id":"own"}`, map[int]string{colMessageID: "own"}},
		{"the edge's address goes before the client's", `{"event_type":"page","context":{"ip":"1.2.3.4","user_agent":"own/1"}}`,
			map[int]string{colIP: "198.51.100.7", colUserAgent: "own/1"}},
		{"a nobody is no device", `{"event_type":"page","anonymous_id":"undefined"}`, map[int]string{colAnonymousID: ""}},
		{"a number as identity keeps its digits", `{"event_type":"page","identity":12345678901234567890}`, map[int]string{colIdentity: "12345678901234567890"}},
		{"an object as identity is its JSON", `{"event_type":"page","identity":{"email":"a@b.example"}}`, map[int]string{colIdentity: `{"email":"a@b.example"}`}},
		{"NUL is kept", `{"event_type":"track","event_name":"a\u0000b","payload":{"x":"\u0000"}}`,
			map[int]string{colEventName: "a\x00b", colPayload: `{"x":"\u0000"}`}},
		{"lone surrogates are replaced, pairs and escaped backslashes are not", `{"event_type":"track","event_name":"\ud800","payload":{"a":"\ud800","b":"\uD83D\uDE00","c":"\\ud800","d":"\udc00\ud800x","e":"\ud800\ud83d\ude00"},"context":{"\udfff":1},"z":"\uDBFF"}`,
			map[int]string{
				colEventName: "\ufffd", colContext: `{"\ufffd":1}`, colExtra: `{"z":"\ufffd"}`,
				colPayload: `{"a":"\ufffd","b":"\uD83D\uDE00","c":"\\ud800","d":"\ufffd\ufffdx","e":"\ufffd\ud83d\ude00"}`,
			}},
		{"members without a column are extra", `{"event_type":"alias","original":{"a":1},"previous_id":"p","sent_at":"2026-11-23T11:00:00Z","group_id":7,"q\"":null}`,
			map[int]string{colExtra: `{"original":{"a":1},"previous_id":"p","group_id":7,"q\"":null}`}},
		{"times that could not be used are extra", `{"event_type":"page","timestamp":"yesterday","sent_at":5}`,
			map[int]string{colExtra: `{"timestamp":"yesterday","sent_at":5}`}},
		{"a page event may say its page in the payload", `{"event_type":"page","payload":{"url":"https://a.example/x","title":"X","referrer":"https://b.example/"}}`,
			map[int]string{colURL: "https://a.example/x", colHost: "a.example", colPath: "/x", colPageTitle: "X", colReferringDomain: "b.example"}},
		{"the context's page goes before the payload's", `{"event_type":"page","payload":{"url":"https://a.example/x"},"context":{"page":{"url":"https://c.example/"}}}`,
			map[int]string{colHost: "c.example"}},
		{"a track event's url is not its page", `{"event_type":"track","event_name":"x","payload":{"url":"https://a.example/x"}}`, map[int]string{colURL: ""}},
		{"context.campaign stands in for utm parameters", `{"event_type":"page","context":{"campaign":{"source":"s","medium":"m","name":"n","term":"t","content":"c"},"page":{"url":"https://a.example/?utm_source=url&utm_source=second&utm_medium="}}}`,
			map[int]string{colUTMSource: "url", colUTMMedium: "m", colUTMCampaign: "n", colUTMTerm: "t", colUTMContent: "c"}},
		{"wrong types are left out", `{"event_type":"page","payload":{"order_id":{},"products":{},"currency":1,"revenue":[]},"context":{"page":"x","user_agent":{},"campaign":[],"library":"y","locale":null}}`,
			map[int]string{colOrderID: "", colCurrency: "1", colLocale: "", colLibraryName: "", colUserAgent: "curl/8.5.0"}},
		{"names are cut between characters", `{"event_type":"page","context":{"locale":"` + strings.Repeat("é", 200) + `"}}`,
			map[int]string{colLocale: strings.Repeat("é", 128)}},
		{"a broken url never fails", `{"event_type":"page","context":{"page":{"url":"http://[::1/%zz?utm_source=%","referrer":"::"}}}`,
			map[int]string{colHost: "", colUTMSource: "%"}},
		{"order ids are trimmed", `{"event_type":"track","event_name":"x","payload":{"order_id":" 1001 "}}`, map[int]string{colOrderID: "1001"}},
		{"userAgent in Segment's spelling", `{"event_type":"page","context":{"userAgent":"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}}`,
			map[int]string{colBrowser: "Googlebot", colDeviceClass: "bot"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			columns(t, decodeRow(t, tt.value, func(m *event.Meta) { m.MessageID, m.IP, m.UserAgent = "minted", "198.51.100.7", "curl/8.5.0" }), tt.want)
		})
	}
}

func TestDecodeNodes(t *testing.T) {
	email := node("email", "ann@example.com")
	verified := func(m *event.Meta) { m.IdentityNode = email }
	for _, tt := range []struct {
		name, value       string
		options           []func(*event.Meta)
		profile, identity uuid.UUID
	}{
		{"device only", `{"event_type":"page","anonymous_id":"d"}`, nil, node("anonymous", "d"), uuid.Nil},
		{"device and person", `{"event_type":"page","anonymous_id":"d","identity":"ann@example.com"}`, []func(*event.Meta){verified}, node("anonymous", "d"), email},
		{"person only", `{"event_type":"page","identity":"ann@example.com"}`, []func(*event.Meta){verified}, email, email},
		{"a nobody as device", `{"event_type":"page","anonymous_id":"null","identity":"ann@example.com"}`, []func(*event.Meta){verified}, email, email},
		{"alias of a device", `{"event_type":"alias","previous_id":"d","identity":"ann@example.com"}`, []func(*event.Meta){verified}, node("anonymous", "d"), email},
		{"alias with a device of its own", `{"event_type":"alias","previous_id":"d","anonymous_id":"own","identity":"ann@example.com"}`, []func(*event.Meta){verified}, node("anonymous", "own"), email},
		{"alias of an email", `{"event_type":"alias","previous_id":"old@example.com","identity":"ann@example.com"}`, []func(*event.Meta){verified}, email, email},
		{"a number as device", `{"event_type":"page","anonymous_id":7.0}`, nil, node("anonymous", "7.0"), uuid.Nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := decodeRow(t, tt.value, tt.options...)
			if r.profileNode != tt.profile || r.identityNode != tt.identity {
				t.Errorf("profile_node %s, identity_node %s; want %s, %s", r.profileNode, r.identityNode, tt.profile, tt.identity)
			}
		})
	}
}

// The node of the routing identity is the one the edge routes by, under any tenant's settings.
func TestDecodeNodeIsTheRoutingNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value, err := json.Marshal(map[string]any{
			"event_type":   rapid.SampledFrom([]string{"page", "identify", "alias"}).Draw(t, "type"),
			"anonymous_id": rapid.SampledFrom([]any{nil, "d-1", " d-2 ", "null", 0, 17}).Draw(t, "anonymous"),
			"previous_id":  rapid.SampledFrom([]any{nil, "p-1", "p@example.com", "none"}).Draw(t, "previous"),
			"identity":     rapid.SampledFrom([]any{nil, "u-1", "u@example.com", "guest"}).Draw(t, "identity"),
		})
		if err != nil {
			t.Fatal(err)
		}
		var e event.Event
		if err := e.Decode(value, event.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		settings := event.DefaultSettings()
		var ids event.Identifiers
		e.Identifiers(tenant, &settings, &ids)
		if ids.Empty() {
			t.Skip()
		}
		var r row
		rec := record(event.TopicEvents, 0, string(value), func(m *event.Meta) {
			if len(ids.Verified) > 0 {
				m.IdentityNode = ids.Verified[0].Node
			}
		})
		if err := decode(newDecoder(event.DefaultLimits()), rec, &r); err != nil {
			t.Fatal(err)
		}
		if r.profileNode != ids.Routing().Node {
			t.Fatalf("%s: profile_node %s, routing node %s", value, r.profileNode, ids.Routing().Node)
		}
	})
}

func TestDecodeRevenue(t *testing.T) {
	for _, tt := range []struct {
		name, payload string
		want          string
	}{
		{"Order Completed", `{"revenue":10,"total":20,"value":30}`, "10"},
		{"order_completed", `{"total":"20.5","value":30}`, "20.5"},
		{" CHECKOUT-COMPLETED ", `{"value":30}`, "30"},
		{"Checkout _ \u00a0Completed", `{"value":30}`, "30"},
		{"Checkout Completed!", `{"value":30}`, ""},
		{"Käufe", `{"value":30}`, ""},
		{"purchase", `{"revenue":"much","value":1e2}`, "100"},
		{"Checkout Started", `{"total":20,"value":30}`, ""},
		{"Checkout Started", `{"revenue":20}`, "20"},
		{"Order Refunded", `{"total":20}`, ""},
		{"Order Completed", `{"revenue":null}`, ""},
		{"Order Completed and much more than that", `{"total":1}`, ""},
	} {
		r := decodeRow(t, fmt.Sprintf(`{"event_type":"track","event_name":%q,"payload":%s}`, tt.name, tt.payload))
		got := ""
		if r.hasRevenue {
			got = strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%09d", r.revenue.Low/1e9, r.revenue.Low%1e9), "0"), ".")
		}
		if got != tt.want {
			t.Errorf("%s %s: revenue %q, want %q", tt.name, tt.payload, got, tt.want)
		}
	}
}

func TestDecodeManyProducts(t *testing.T) {
	var list []string
	for i := range 12_000 {
		list = append(list, fmt.Sprintf(`{"product_id":%d}`, i%11_000))
	}
	r := decodeRow(t, `{"event_type":"track","event_name":"x","payload":{"items":[`+strings.Join(list, ",")+`]}}`)
	if len(r.products) != maxProducts || r.products[0] != "0" || r.products[maxProducts-1] != "9999" {
		t.Errorf("%d products", len(r.products))
	}
}

func TestDecodeRefuses(t *testing.T) {
	d := newDecoder(event.DefaultLimits())
	for name, r := range map[string]*kgo.Record{
		"no JSON":    record(event.TopicEvents, 0, `{"secret`),
		"no headers": {Value: []byte(page("m", "d"))},
		"bad tenant": {Value: []byte(page("m", "d")), Headers: []kgo.RecordHeader{{Key: event.HeaderTenant, Value: []byte("secret")}}},
		"no type":    record(event.TopicEvents, 0, `{"secret":1}`),
	} {
		var out row
		err := decode(d, r, &out)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever JSON a payload holds, it comes out as it went in, mended, and nothing else happens.
func TestDecodeHostile(t *testing.T) {
	data, err := os.ReadFile("../../internal/event/testdata/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var strs []string
	if err := json.Unmarshal(data, &strs); err != nil {
		t.Fatal(err)
	}
	d := newDecoder(event.DefaultLimits())
	for _, s := range strs {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		q := string(quoted)
		value := `{"event_type":"page","anonymous_id":"d","payload":{` + q + `:` + q + `,"products":[{"sku":` + q + `}],"order_id":` + q + `,"revenue":` + q + `},
			"context":{"page":{"url":` + q + `,"referrer":` + q + `},"user_agent":` + q + `,"locale":` + q + `},` + q + `:` + q + `}`
		var r row
		err = decode(d, record(event.TopicEvents, 0, value), &r)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		for _, column := range []int{colPayload, colContext, colExtra} {
			if !json.Valid([]byte(r.text[column])) {
				t.Errorf("%q: %s is no JSON: %s", s, textNames[column], r.text[column])
			}
		}
		if strings.ToValidUTF8(r.text[colURL], "") != r.text[colURL] || r.text[colUserAgent] != s {
			t.Errorf("%q: url %q, user agent %q", s, r.text[colURL], r.text[colUserAgent])
		}
	}
}

func TestMendKeepsLengthAndMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{`\ud800`, `\udc00`, `\uD83D`, `\uDE00`, `\\`, `\"`, `ud800`, `x`, `\u0041`, `\n`, `é`}), 0, 12).Draw(t, "parts")
		raw := []byte(`"` + strings.Join(parts, "") + `"`)
		var want, got string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		mended := bytes.Clone(raw)
		mend(mended)
		if err := json.Unmarshal(mended, &got); err != nil || got != want || len(mended) != len(raw) {
			t.Fatalf("%s became %s", raw, mended)
		}
		again := bytes.Clone(mended)
		if mend(again); !bytes.Equal(again, mended) {
			t.Fatalf("%s became %s", mended, again)
		}
	})
}

func TestTextsKeepWhatTheyGaveOut(t *testing.T) {
	var kept texts
	for range 2 { // the second time in the memory of the first
		var want, got []string
		for i := range 5000 {
			s := strings.Repeat(fmt.Sprint(i%10), i%700)
			if i%1000 == 999 {
				s = strings.Repeat("x", textBlock+i)
			}
			want = append(want, s)
			got = append(got, view(kept.keep([]byte(s))))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("text %d changed", i)
			}
		}
		kept.reset()
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(page("m", "d")))
	f.Add([]byte(`{"event_type":"track","event_name":"x","payload":{"products":[{"sku":"\ud800"}],"revenue":"1e9"},"context":{"page":{"url":"//a?utm_source=%zz"}},"q":1}`))
	f.Add([]byte(`{"event_type":"alias","previous_id":"a@b.example","timestamp":1e300}`))
	d := newDecoder(event.DefaultLimits())
	f.Fuzz(func(t *testing.T, value []byte) {
		var r row
		if decode(d, record(event.TopicEvents, 0, string(value)), &r) != nil {
			return
		}
		for _, column := range []int{colPayload, colContext, colExtra} {
			if !json.Valid([]byte(r.text[column])) {
				t.Errorf("%s is no JSON: %q", textNames[column], r.text[column])
			}
		}
	})
}
