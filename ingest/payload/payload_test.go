package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMediaOf(t *testing.T) {
	for text, want := range map[string]Media{
		"": None, "application/json": JSON, "application/json; charset=utf-8": JSON, "Application/JSON;charset=UTF-8": JSON,
		"text/plain;charset=UTF-8": Text, "application/x-ndjson": NDJSON, "application/jsonl": NDJSON, "application/ndjson": NDJSON,
		"application/x-www-form-urlencoded": Form, "text/html": Other, "application/jsonx": Other, "json": Other,
	} {
		if got := MediaOf([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func compress(t testing.TB, encoding string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip", "x-gzip":
		w = gzip.NewWriter(&out)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	case "br":
		w = brotli.NewWriterLevel(&out, 1)
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const limit = 2 << 20

func newReader() *Reader { return NewReader(64<<20, 10*time.Millisecond) }

func TestReadRoundTrip(t *testing.T) {
	r := newReader()
	var b Buffer
	for _, size := range []int{0, 1, 400, keepBytes, keepBytes + 1, rawBytes + rawBytes/2, limit} {
		text := make([]byte, size)
		for i := range text { // hardly compressible, so that the raw part is large as well
			text[i] = byte(i*7 + i>>8*13 + i>>16*31)
		}
		for _, encoding := range []string{"", "identity", "gzip", "x-gzip", "zstd", "br"} {
			for _, known := range []bool{true, false} {
				raw := compress(t, encoding, text)
				length := -1
				if known {
					length = len(raw)
				}
				if len(raw) > limit {
					continue // incompressible: on the wire it is over the limit
				}
				err := r.Read(&b, Source{Body: bytes.NewReader(raw), Length: length, Encoding: []byte(encoding), Limit: limit})
				if err != nil || !bytes.Equal(b.B, text) {
					t.Errorf("%d bytes, %q, length known %v: %d bytes, %v", size, encoding, known, len(b.B), err)
				}
				r.Release(&b, false)
				if b.charged != 0 {
					t.Fatalf("%d bytes stay charged", b.charged)
				}
			}
		}
	}
	if !r.budget.TryAcquire(64 << 20) {
		t.Error("memory stays charged after all bodies are released")
	}
}

func TestReadSniffsGzip(t *testing.T) {
	r := newReader()
	var b Buffer
	raw := compress(t, "gzip", []byte(`{"batch":[]}`))
	if err := r.Read(&b, Source{Body: bytes.NewReader(raw), Length: len(raw), Limit: limit, Sniff: true}); err != nil || string(b.B) != `{"batch":[]}` {
		t.Errorf("%q %v", b.B, err)
	}
}

type timeout struct{}

func (timeout) Error() string   { return "i/o timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestReadRefuses(t *testing.T) {
	big := bytes.Repeat([]byte("a"), limit+1)
	bomb := func(encoding string) []byte { return compress(t, encoding, make([]byte, 8<<20)) }
	slow := func(head []byte) io.Reader {
		return io.MultiReader(bytes.NewReader(head), iotest.ErrReader(&net.OpError{Op: "read", Err: timeout{}}))
	}
	half := compress(t, "gzip", big)
	var network net.Error
	for name, c := range map[string]struct {
		s    Source
		want func(error) bool
	}{
		"announced too large": {Source{Body: slow(nil), Length: limit + 1}, is(ErrTooLarge)},
		"turns out too large": {Source{Body: bytes.NewReader(big), Length: -1}, is(ErrTooLarge)},
		"gzip bomb":           {Source{Body: bytes.NewReader(bomb("gzip")), Length: -1, Encoding: []byte("gzip")}, is(ErrTooLarge)},
		"zstd bomb":           {Source{Body: bytes.NewReader(bomb("zstd")), Length: -1, Encoding: []byte("zstd")}, is(ErrTooLarge)},
		"brotli bomb":         {Source{Body: bytes.NewReader(bomb("br")), Length: -1, Encoding: []byte("br")}, is(ErrTooLarge)},
		"unknown encoding":    {Source{Body: slow(nil), Length: 1, Encoding: []byte("deflate")}, is(ErrEncoding)},
		"two encodings":       {Source{Body: slow(nil), Length: 1, Encoding: []byte("gzip, gzip")}, is(ErrEncoding)},
		"no gzip":             {Source{Body: strings.NewReader("hello world, hello world"), Length: -1, Encoding: []byte("gzip")}, is(ErrCorrupt)},
		"no zstd":             {Source{Body: strings.NewReader("hello"), Length: -1, Encoding: []byte("zstd")}, is(ErrCorrupt)},
		"no brotli":           {Source{Body: strings.NewReader("hello"), Length: -1, Encoding: []byte("br")}, is(ErrCorrupt)},
		"empty gzip":          {Source{Body: strings.NewReader(""), Length: 0, Encoding: []byte("gzip")}, is(ErrCorrupt)},
		"truncated gzip":      {Source{Body: bytes.NewReader(half[:len(half)/2]), Length: -1, Encoding: []byte("gzip")}, is(ErrCorrupt)},
		"connection cut":      {Source{Body: strings.NewReader("abc"), Length: 10}, is(io.ErrUnexpectedEOF)},
		"slow body":           {Source{Body: slow([]byte("abc")), Length: 10}, func(err error) bool { return errors.As(err, &network) && network.Timeout() }},
		"slow gzip":           {Source{Body: slow(half[:10]), Length: 1000, Encoding: []byte("gzip")}, func(err error) bool { return errors.As(err, &network) && network.Timeout() }},
	} {
		r := newReader()
		var b Buffer
		c.s.Limit = limit
		if err := r.Read(&b, c.s); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		r.Release(&b, false)
		if !r.budget.TryAcquire(64 << 20) {
			t.Errorf("%s: memory stays charged", name)
		}
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func TestMemoryOfLargeBodiesIsBounded(t *testing.T) {
	r := NewReader(4<<20, time.Millisecond)
	body := make([]byte, 3<<19)
	read := func(b *Buffer) error {
		return r.Read(b, Source{Body: bytes.NewReader(body), Length: len(body), Limit: limit})
	}
	var one, two, three Buffer
	if err := errors.Join(read(&one), read(&two)); err != nil {
		t.Fatal(err)
	}
	if err := read(&three); !errors.Is(err, ErrBusy) {
		t.Errorf("a third body beyond the budget: %v", err)
	}
	r.Release(&three, false)
	r.Release(&one, true)
	if one.B != nil {
		t.Error("a retained body must not be used again")
	}
	if err := read(&three); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

// An announced length alone costs nothing.
func TestAnnouncementAllocatesLittle(t *testing.T) {
	r := newReader()
	var b Buffer
	_ = r.Read(&b, Source{Body: strings.NewReader("x"), Length: limit, Limit: limit})
	if cap(b.B) > keepBytes {
		t.Errorf("%d bytes for one that came", cap(b.B))
	}
}

func TestReadAllocatesNothingWhenSmall(t *testing.T) {
	r := newReader()
	var b Buffer
	src := bytes.NewReader(make([]byte, 400))
	if n := testing.AllocsPerRun(100, func() {
		src.Reset(make([]byte, 0, 400)[:400])
		if err := r.Read(&b, Source{Body: src, Length: 400, Limit: limit}); err != nil {
			t.Fatal(err)
		}
		r.Release(&b, false)
	}); n > 1 { // the one is the test's own
		t.Errorf("%v allocations", n)
	}
}

func cut(t testing.TB, f func(b *Batch) error) ([]string, *Batch, error) {
	t.Helper()
	var b Batch
	b.Reset(10)
	err := f(&b)
	var out []string
	for _, item := range b.Items {
		out = append(out, string(item))
	}
	return out, &b, err
}

func TestDocument(t *testing.T) {
	for body, want := range map[string]string{
		`[]`:                                  "",
		` [ 1 , "a" ,null,{} ,[ ] ] `:         `1|"a"|null|{}|[ ]`,
		"\xef\xbb\xbf[1]\n":                   "1",
		`{"events":[{"a":1},{"b":"]}\"["}]}`:  `{"a":1}|{"b":"]}\"["}`,
		`{"x":{"y":[1]},"events":[1],"z":""}`: "1",
		`{"e\u0076ents":[1]}`:                 "1",
		`[{"a":"\\"},{"b":"\\\""}]`:           `{"a":"\\"}|{"b":"\\\""}`,
		`[{bad},{"a":1},nonsense,{"b":2}]`:    `{bad}|{"a":1}|nonsense|{"b":2}`,
		"[{\"a\":\"\xff\"},2]":                "{\"a\":\"\xff\"}|2",
		`[` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,2]`: strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "|2",
	} {
		got, _, err := cut(t, func(b *Batch) error { return b.Document([]byte(body), "events") })
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%.60s: %q %v", body, got, err)
		}
	}
}

func TestDocumentRefuses(t *testing.T) {
	for body, want := range map[string]string{
		``: event.CodeInvalidJSON, `7`: event.CodeInvalidJSON, `"a"`: event.CodeInvalidJSON, `[`: event.CodeInvalidJSON,
		`[1`: event.CodeInvalidJSON, `[1,]`: event.CodeInvalidJSON, `[,1]`: event.CodeInvalidJSON, `[1 2]`: event.CodeInvalidJSON,
		`[1]x`: event.CodeInvalidJSON, `[{"a":1]`: event.CodeInvalidJSON, `["a]`: event.CodeInvalidJSON, `["a\"]`: event.CodeInvalidJSON,
		`{"events":[1]`: event.CodeInvalidJSON, `{"events":[1],}`: event.CodeInvalidJSON, `{"events" [1]}`: event.CodeInvalidJSON,
		`{events:[1]}`: event.CodeInvalidJSON, `{"events":[1],"x":nope}`: event.CodeInvalidJSON, `{"events":[1],"\x":1}`: event.CodeInvalidJSON,
		`{"events":[1],"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: event.CodeInvalidJSON,
		`{}`: "events", `{"event_type":"page"}`: "events", `{"events":null}`: "events", `{"events":{}}`: "events",
		`{"events":[1],"events":[2]}`: "events",
	} {
		_, _, err := cut(t, func(b *Batch) error { return b.Document([]byte(body), "events") })
		var verdict *event.Error
		if !errors.As(err, &verdict) || (verdict.Code != want && verdict.Field != want) {
			t.Errorf("%.60s: %v, want %s", body, err, want)
		}
	}
	if _, _, err := cut(t, func(b *Batch) error { return b.Document([]byte(`[1,2,3,4,5,6,7,8,9,10,11]`), "events") }); !errors.Is(err, ErrTooMany) {
		t.Errorf("eleven of ten: %v", err)
	}
}

func TestOthers(t *testing.T) {
	_, b, err := cut(t, func(b *Batch) error {
		return b.Document([]byte(`{"sentAt":"a","batch":[1],"writeKey":"k","sentAt":"b"}`), "batch")
	})
	if err != nil || string(b.Other("writeKey")) != `"k"` || string(b.Other("sentAt")) != `"b"` || b.Other("nope") != nil {
		t.Errorf("%v %q", err, b.Others)
	}
}

func TestLines(t *testing.T) {
	got, _, err := cut(t, func(b *Batch) error { return b.Lines([]byte("\xef\xbb\xbf{\"a\":1}\r\n\n  \n{bad\n[2]  ")) })
	if err != nil || strings.Join(got, "|") != `{"a":1}|{bad|[2]` {
		t.Errorf("%q %v", got, err)
	}
	if _, _, err := cut(t, func(b *Batch) error { return b.Lines([]byte(strings.Repeat("1\n", 11))) }); !errors.Is(err, ErrTooMany) {
		t.Errorf("eleven of ten: %v", err)
	}
	for body, want := range map[string]bool{
		"{\"a\":1}\n{\"b\":2}": true, `{"events":[1]}`: false, `[1]`: false, ``: false, `{"a"`: false, `{"a":1}x`: false,
	} {
		if LooksLikeLines([]byte(body)) != want {
			t.Errorf("%q looks like lines: %v", body, !want)
		}
	}
}

// Law: what encoding/json writes is cut where encoding/json would cut it.
func TestDocumentAgreesWithEncodingJSON(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return rapid.String().Draw(t, "s")
		case 1:
			return rapid.Float64Range(-1e9, 1e9).Draw(t, "n")
		case 2:
			return rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.StringMatching(`[\[\]{}"\\,: ]*`))).Draw(t, "o")
		}
		return nil
	})
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(value, 0, 8).Draw(t, "items")
		body, err := json.Marshal(map[string]any{"events": items, "before": 1, "zafter": "]}"})
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ Events []json.RawMessage }
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		var b Batch
		b.Reset(100)
		if err := b.Document(body, "events"); err != nil || len(b.Items) != len(want.Events) {
			t.Fatalf("%s: %d items, %v", body, len(b.Items), err)
		}
		for i := range b.Items {
			if !bytes.Equal(b.Items[i], want.Events[i]) {
				t.Fatalf("item %d: %s, want %s", i, b.Items[i], want.Events[i])
			}
		}
	})
}

// Whatever comes, cutting ends, stays inside the body, and cuts what is valid JSON like a JSON parser.
func FuzzDocument(f *testing.F) {
	files, err := os.ReadDir("../../internal/jsonscan/testdata/jsontestsuite")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile("../../internal/jsonscan/testdata/jsontestsuite/" + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 4096 {
			f.Add(data)
		}
	}
	f.Add([]byte(`{"events":[{"a":"\\\""},[1,{"b":[]}]],"x":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Batch
		b.Reset(1000)
		err := b.Document(data, "events")
		if json.Valid(data) {
			var list []json.RawMessage
			if json.Unmarshal(data, &list) == nil && list != nil && len(list) <= 1000 {
				if err != nil || len(list) != len(b.Items) {
					t.Fatalf("%q: %d items, %v; encoding/json has %d", data, len(b.Items), err, len(list))
				}
				for i := range list {
					if !bytes.Equal(list[i], b.Items[i]) {
						t.Fatalf("%q: item %d is %q, encoding/json has %q", data, i, b.Items[i], list[i])
					}
				}
			}
		}
		b.Reset(1000)
		_ = b.Lines(data)
		_ = LooksLikeLines(data)
	})
}

func BenchmarkDocument(b *testing.B) {
	item, err := os.ReadFile("../../internal/jsonscan/testdata/event400.json")
	if err != nil {
		b.Fatal(err)
	}
	item = bytes.TrimSpace(item)
	body := append([]byte(`{"events":[`), bytes.Repeat(append(item, ','), 1000)...)
	body = append(body[:len(body)-1], "]}"...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var batch Batch
	for b.Loop() {
		batch.Reset(1000)
		if err := batch.Document(body, "events"); err != nil {
			b.Fatal(err)
		}
	}
}

// Who reads or decompresses a large body hears of each part of it, and who cuts one of each item.
func TestWorkIsTold(t *testing.T) {
	const n = 1 << 20
	line := strings.Repeat("x", 99) + "\n"
	body := bytes.Repeat([]byte(line), n/len(line))
	for _, encoding := range []string{"", "gzip", "zstd", "br"} {
		var b Buffer
		r := NewReader(64<<20, time.Second)
		came, told := 0, 0
		err := r.Read(&b, Source{Body: bytes.NewReader(compress(t, encoding, body)), Length: -1, Encoding: []byte(encoding), Limit: n, Arrived: func(n int) { came += n }, Inflated: func(n int) { told += n }})
		if encoding == "" {
			came, told = 0, came
		}
		if err != nil || came != 0 || told < len(body)-2*keepBytes || told > len(body) {
			t.Errorf("%q: told of %d bytes of %d: %v", encoding, told, len(body), err)
		}
		r.Release(&b, false)
	}
	told := 0
	b := Batch{Worked: func(n int) { told += n }}
	b.Reset(n)
	if err := b.Lines(body); err != nil || told != len(body)-len(b.Items) {
		t.Errorf("told of %d bytes of %d: %v", told, len(body), err)
	}
}
