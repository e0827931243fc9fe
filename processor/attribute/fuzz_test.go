package attribute

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"b":1,"a":[{}]}`, `{"a":"\u0000\ud800\n"}`, `{"a":1e9999999999999999999}`, `{"":{"":{}}}`, ` {"a" : 1}`, `{"\u0001\"":1,"\n":2}`, `[1]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			return
		}
		text := d.Text()
		if !json.Valid(text) || !canonical(text) {
			t.Fatalf("%q is written as %q", data, text)
		}
		if n := build(text); int(n.size) != len(text) || !bytes.Equal(n.appendText(nil), text) {
			t.Fatalf("%q reads back as %q", text, n.appendText(nil))
		}
	})
}

func readable(raw []byte) bool { return len(raw) == 0 || jsonscan.Valid(raw, maxDepth) == nil }

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":"x"}}`), []byte(`{"a":[1],"$unset":["b.c","/b"]}`), []byte(`{"b":{"c":["y"]}}`), false)
	f.Add([]byte(`{"a":["x"]}`), []byte(`{"a":"y"}`), []byte(`null`), true)
	f.Fuzz(func(t *testing.T, before, payload, traits []byte, late bool) {
		d, err := Parse(before)
		if err != nil {
			return
		}
		before = bytes.Clone(d.Text())
		lineage, err := new(Document).Absorb(&d, DefaultLimits())
		if err != nil {
			return
		}
		changes, err := d.Apply(Patch{Payload: payload, Traits: traits, Late: late}, DefaultLimits())
		if err != nil {
			if !bytes.Equal(d.Text(), before) {
				t.Fatalf("%v, but %s became %s", err, before, d.Text())
			}
			if !errors.Is(err, ErrLimit) && readable(payload) && readable(traits) {
				t.Fatal(err)
			}
			return
		}
		folded, err := Fold(append(lineage, changes...))
		if err != nil || !bytes.Equal(folded.Text(), d.Text()) {
			t.Fatalf("lineage folds into %s (%v), attributes are %s", folded.Text(), err, d.Text())
		}
	})
}
