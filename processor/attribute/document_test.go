package attribute

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDocumentOverItsLimitsMayShrink(t *testing.T) {
	small := Limits{Depth: 1, Leaves: 2, Bytes: 30}
	over := `{"a":{"b":1},"c":[2],"d":3,"e":"four","f":"five"}`
	d := document(t, over)
	if _, err := d.Apply(payload(`{"g":1}`), small); !errors.Is(err, ErrLimit) {
		t.Errorf("grew: %v", err)
	}
	if _, err := d.Apply(payload(`{"d":4}`), small); err != nil {
		t.Errorf("change in place: %v", err)
	}
	if _, err := d.Apply(payload(`{"$unset":["e"],"g":1}`), small); err != nil {
		t.Errorf("shrank: %v", err)
	}
}

func TestLongPathsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1900 {
		fmt.Fprintf(&b, `,"%d":1`, i)
	}
	var d Document
	_, err := d.Apply(payload(`{"`+strings.Repeat("k", 100<<10)+`":{`+b.String()[1:]+`}}`), DefaultLimits())
	if !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
}

func TestClonesAreIndependent(t *testing.T) {
	d := document(t, `{"a":{"b":1},"l":["x"]}`)
	c := d.Clone()
	if _, err := d.Apply(payload(`{"a":{"b":2},"l":"y"}`), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(payload(`{"l":"z"}`), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if got := string(d.Text()); got != `{"a":{"b":2},"l":["x","y"]}` {
		t.Errorf("original: %s", got)
	}
	if got := string(c.Text()); got != `{"a":{"b":1},"l":["x","z"]}` {
		t.Errorf("clone: %s", got)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		``:                                   `{}`,
		` { } `:                              `{}`,
		`{"b":1,"a":2}`:                      `{"a":2,"b":1}`,
		`{"a":1,"b":2,"a":3}`:                `{"a":3,"b":2}`,
		`{"\u0061":1}`:                       `{"a":1}`,
		`{"a!":1,"a":2}`:                     `{"a":2,"a!":1}`,
		`{"a" : [ 1 , { "z":1, "y":[ ] } ]}`: `{"a":[1,{"y":[],"z":1}]}`,
		`{"a":"\u0000\ud800\u00e9\/\u000b"}`: `{"a":"` + "\ufffd\ufffdé/" + `\u000b"}`,
		`{"\u0000":1,"\ud800":2}`:            "{\"\ufffd\":2}",
		`{"a":"\ud83d\ude00<>&\u2028"}`:      "{\"a\":\"😀<>&\u2028\"}",
		`{"a":1e400,"b":-0.0,"c":1.0E+5}`:    `{"a":1e400,"b":-0.0,"c":1.0E+5}`,
		"{\"a\":\"\u007f\"}":                 "{\"a\":\"\u007f\"}",
		`{"a!":1,"a\n":2}`:                   `{"a\n":2,"a!":1}`,
		`{"a!":1,"a\"\\":2}`:                 `{"a!":1,"a\"\\":2}`,
		`{"é":1,"z":2}`:                      `{"z":2,"é":1}`,
	} {
		d := document(t, in)
		if got := string(d.Text()); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		if !canonical([]byte(want)) || in != "" && in != want && canonical([]byte(in)) {
			t.Errorf("%s: canonical is told wrong", in)
		}
	}
	for _, bad := range []string{` `, `[]`, `null`, `1`, `{`, `{}{}`, `{"a":1,}`} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q: parsed", bad)
		}
	}
}

func TestFoldRefusesBrokenLineage(t *testing.T) {
	for name, changes := range map[string][]Change{
		"no pointer":       {{Path: "a", Op: Add, New: []byte("1")}},
		"the root":         {{Path: "", Op: Add, New: []byte("1")}},
		"no value":         {{Path: "/a", Op: Add}},
		"bad value":        {{Path: "/a", Op: Add, New: []byte("{")}},
		"remove of absent": {{Path: "/a", Op: Remove, Old: []byte("1")}},
		"below a scalar":   {{Path: "/a", Op: Add, New: []byte("1")}, {Path: "/a/b", Op: Add, New: []byte("1")}},
		"too deep":         {{Path: strings.Repeat("/a", 1000), Op: Add, New: []byte("1")}},
	} {
		if _, err := Fold(changes); err == nil {
			t.Errorf("%s: folded", name)
		}
	}
}
