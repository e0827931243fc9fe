package jsonscan

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// FuzzWalk holds Walk against Members, on objects in objects, some of them entered, some taken whole and some
// skipped.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "a" : [ 2 , { "b" : "}" } ] } `, `{"\u0061":null,"b":{},"c":{"d":{"e":"\"","f":[]},"g":true},"h":-1.5e3}`,
		`{"é":"日本","long enough to fill words":"\\\\","x":{"y":"z\\"}}`,
	} {
		f.Add([]byte(s), uint(0))
		f.Add([]byte(s), uint(5))
	}
	f.Fuzz(func(t *testing.T, data []byte, choice uint) {
		if Valid(data, len(data)+1) != nil || !strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{") {
			return
		}
		var w Walk
		w.Reset(data)
		got := walked(&w, choice)
		if w.Next() {
			t.Fatalf("%q goes on", data)
		}
		if want := membersOf(data, choice); !slices.Equal(got, want) {
			t.Fatalf("%q: walked %q, want %q", data, got, want)
		}
	})
}

// A value is skipped, entered or taken, as a bit of choice and its key's length say.
func walked(w *Walk, choice uint) (all []string) {
	for w.Next() {
		key := string(w.Key())
		all = append(all, key)
		switch {
		case choice>>(len(key)%8)&1 == 1:
			continue
		case w.Enter():
			all = append(all, walked(w, choice)...)
		default:
			all = append(all, string(w.Value()))
		}
	}
	return append(all, "end")
}

func membersOf(object []byte, choice uint) (all []string) {
	var m Members
	for m.Reset(object, len(object)+1); m.Next(); {
		key := string(m.Key())
		all = append(all, key)
		switch {
		case choice>>(len(key)%8)&1 == 1:
			continue
		case KindOf(m.Value()) == Object:
			all = append(all, membersOf(m.Value(), choice)...)
		default:
			all = append(all, string(m.Value()))
		}
	}
	return append(all, "end")
}

func TestWalkAllocatesNothing(t *testing.T) {
	doc, err := os.ReadFile("testdata/event400.json")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		var w Walk
		for w.Reset(doc); w.Next(); {
			if string(w.Key()) == "context" && w.Enter() {
				for w.Next() {
					w.Value()
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWalk(b *testing.B) {
	doc, err := os.ReadFile("testdata/event400.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	var w Walk
	for b.Loop() {
		for w.Reset(doc); w.Next(); {
		}
	}
}

func TestSkip(t *testing.T) {
	for _, c := range []struct {
		text   string
		end    int
		closed bool
	}{
		{`"a",`, 3, true}, {`"a\"b"`, 6, true}, {`"0123456789\\" "`, 14, true},
		{`{"}":[1,{}]},{}`, 12, true}, {`[]`, 2, true}, {`[}`, 2, true},
		{`"a`, 0, false}, {`"a\"`, 0, false}, {`"a\`, 0, false}, {`"`, 0, false}, {`{"a":1`, 0, false}, {`{"a`, 0, false}, {`[`, 0, false}, {`["\`, 0, false},
	} {
		end, closed := Skip([]byte(c.text), 0)
		if closed != c.closed || closed && end != c.end {
			t.Errorf("%s ends at %d, %v; want %d, %v", c.text, end, closed, c.end, c.closed)
		}
	}
}
