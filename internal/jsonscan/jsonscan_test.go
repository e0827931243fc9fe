package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob("testdata/jsontestsuite/*.json")
	if len(files) < 300 {
		t.Fatalf("corpus has %d files", len(files))
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		err = Valid(data, 64)
		switch name := filepath.Base(f); name[0] {
		case 'y':
			if err != nil {
				t.Errorf("%s refused: %v", name, err)
			}
		case 'n':
			if err == nil {
				t.Errorf("%s accepted", name)
			}
		}
	}
}

func TestDepth(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		closing := map[string]string{"[": "]", `{"a":`: "}"}[open]
		doc := func(n int) []byte {
			return []byte(strings.Repeat(open, n) + "1" + strings.Repeat(closing, n))
		}
		if err := Valid(doc(64), 64); err != nil {
			t.Errorf("64 levels of %q: %v", open, err)
		}
		if err := Valid(doc(65), 64); !errors.Is(err, ErrTooDeep) {
			t.Errorf("65 levels of %q: %v", open, err)
		}
	}
	bomb := bytes.Repeat([]byte("["), 1<<20)
	if err := Valid(bomb, 64); !errors.Is(err, ErrTooDeep) {
		t.Errorf("bomb: %v", err)
	}
}

func TestMembers(t *testing.T) {
	var m Members
	m.Reset([]byte(` { "a" : 1 , "b\u005fc":{"x":[1,2]}, "a":"last" } `), 64)
	var got []string
	for m.Next() {
		got = append(got, string(m.Key())+"="+string(m.Value()))
	}
	if m.Err() != nil {
		t.Fatal(m.Err())
	}
	if want := `a=1|b_c={"x":[1,2]}|a="last"`; strings.Join(got, "|") != want {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{``, `[]`, `1`, `{"a":1,}`, `{"a" 1}`, `{"a":1}x`, `{,}`, `{"a":}`, `{"a":1 "b":2}`} {
		m.Reset([]byte(bad), 64)
		for m.Next() {
		}
		if m.Err() == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestElements(t *testing.T) {
	var e Elements
	e.Reset([]byte(`[ 1, "two" ,[3],{"4":5} ]`))
	var got []string
	for e.Next() {
		got = append(got, string(e.Value()))
	}
	if want := `1|"two"|[3]|{"4":5}`; strings.Join(got, "|") != want {
		t.Errorf("got %v", got)
	}
	for _, empty := range []string{`[]`, `[ ]`} {
		if e.Reset([]byte(empty)); e.Next() {
			t.Errorf("%s has an element", empty)
		}
	}
}

func TestUnquote(t *testing.T) {
	for raw, want := range map[string]string{
		`""`:                   "",
		`"plain"`:              "plain",
		`"a\"\\\/\b\f\n\r\tz"`: "a\"\\/\b\f\n\r\tz",
		`"\u0041\u00e9\u20ac"`: "Aé€",
		`"\ud83d\ude00!"`:      "😀!",
		`"\ud800"`:             "\ufffd",
		`"\ude00\ud83d"`:       "\ufffd\ufffd",
		`"\ud83d\u0041"`:       "\ufffdA",
		`"\u0000"`:             "\x00",
		`"x\ud83d"`:            "x\ufffd",
	} {
		if got := string(Unquote(nil, []byte(raw))); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	doc := []byte(`{"message_id":"m","payload":{"a":[1,2,{"b":"c"}],"d":1.5e3},"context":{"page":{"url":"https://x"}}}`)
	var m Members
	if n := testing.AllocsPerRun(100, func() {
		m.Reset(doc, 64)
		for m.Next() {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzValid holds the scanner against encoding/json, which differs in two known ways: it takes
// invalid UTF-8 and it nests deeper.
func FuzzValid(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2.5e-3]`, `"\ud800"`, `{"a":{"b":null}}`, `01`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := Valid(data, 10_000)
		want := json.Valid(data) && utf8.Valid(data)
		if (err == nil) != want && !errors.Is(err, ErrTooDeep) {
			t.Fatalf("ours: %v, encoding/json: %v", err, want)
		}
		if err != nil || KindOf(bytes.TrimLeft(data, " \t\r\n")) != String {
			return
		}
		var std string
		raw := bytes.TrimSpace(data)
		if json.Unmarshal(raw, &std) == nil && string(Unquote(nil, raw)) != std {
			t.Fatalf("unquote: %q, encoding/json: %q", Unquote(nil, raw), std)
		}
	})
}

func BenchmarkMembers(b *testing.B) {
	doc, err := os.ReadFile("testdata/event400.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	var m Members
	for b.Loop() {
		m.Reset(doc, 64)
		for m.Next() {
		}
	}
}

// FuzzMembers holds the walks over objects and arrays against encoding/json: the same members in the
// same order, duplicates included, each value the same text.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"a":[2,{"b":"\u0063"}]}`, `{"\u0061\ud800":null}`, `[]`, `[1,"two",[3],{"4":5}]`, `{"a":1,}`, `[1,]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const depth = 1000
		good := json.Valid(data) && utf8.Valid(data)
		d := json.NewDecoder(bytes.NewReader(data))
		open, _ := d.Token()
		var m Members
		m.Reset(data, depth)
		if !good || open != json.Delim('{') {
			for m.Next() {
			}
			if m.Err() == nil {
				t.Fatalf("%q is an object", data)
			}
			if good && open == json.Delim('[') && Valid(data, depth) == nil {
				elements(t, data, d)
			}
			return
		}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
			if !m.Next() {
				if errors.Is(m.Err(), ErrTooDeep) {
					return
				}
				t.Fatalf("%q ends before %q: %v", data, key, m.Err())
			}
			if string(m.Key()) != key || !bytes.Equal(m.Value(), value) {
				t.Fatalf("%q: %q is %q, encoding/json has %q, %q", data, m.Key(), m.Value(), key, value)
			}
		}
		if m.Next() || m.Err() != nil {
			t.Fatalf("%q goes on: %v", data, m.Err())
		}
	})
}

func elements(t *testing.T, data []byte, d *json.Decoder) {
	var e Elements
	e.Reset(data)
	for d.More() {
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if !e.Next() || !bytes.Equal(e.Value(), value) {
			t.Fatalf("%q: %q, encoding/json has %q", data, e.Value(), value)
		}
	}
	if e.Next() {
		t.Fatalf("%q goes on", data)
	}
}
