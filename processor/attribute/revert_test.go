package attribute

import (
	"testing"

	"pgregory.net/rapid"
)

// What was absorbed can be given back: then the document is as it was, to the byte, and the lineage of
// both steps folds to it.
func TestRevertUndoesAbsorb(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, loser := drawDocument(t), drawDocument(t)
		before := d.Clone()
		want := string(d.Text())
		lineage, err := new(Document).Apply(Patch{Traits: d.Text()}, unlimited)
		if err != nil {
			t.Fatal(err)
		}
		absorbed, err := d.Absorb(&loser, unlimited)
		if err != nil {
			t.Fatal(err)
		}
		given, err := d.Revert(absorbed, &before)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(d.Text()); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		folded, err := Fold(append(append(lineage, absorbed...), given...))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(folded.Text()); got != want {
			t.Fatalf("lineage folds to %s, want %s", got, want)
		}
	})
}

func TestRevert(t *testing.T) {
	for name, c := range map[string]struct{ now, had, want string }{
		"a value goes":                     {`{"a":1,"b":2}`, `{}`, `{"b":2}`},
		"a value comes back":               {`{"u":["x","y"]}`, `{}`, `{"u":["y"]}`},
		"another value stays":              {`{"a":1.0}`, `{}`, `{"a":1.0}`},
		"what is absent stays absent":      {`{"b":2}`, `{}`, `{"b":2}`},
		"objects that it made go with it":  {`{"o":{"p":{"q":true}}}`, `{}`, `{}`},
		"objects that were there stay":     {`{"o":{"p":{"q":true}}}`, `{"o":{}}`, `{"o":{}}`},
		"objects with other members stay":  {`{"o":{"p":{"q":true},"r":1}}`, `{}`, `{"o":{"r":1}}`},
		"a parent that is no object stays": {`{"o":"text"}`, `{}`, `{"o":"text"}`},
		"names with slashes and tildes":    {`{"a/b~":1}`, `{}`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse([]byte(c.now))
			if err != nil {
				t.Fatal(err)
			}
			had, err := Parse([]byte(c.had))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Revert([]Change{
				{Path: "/a", Op: Add, New: []byte("1")},
				{Path: "/a~1b~0", Op: Add, New: []byte("1")},
				{Path: "/o/p/q", Op: Add, New: []byte("true")},
				{Path: "/u", Op: Union, Old: []byte(`["y"]`), New: []byte(`["x","y"]`)},
			}, &had); err != nil {
				t.Fatal(err)
			}
			if got := string(d.Text()); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
