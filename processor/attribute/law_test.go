package attribute

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The names are few, so that patches meet what is there, and hostile.
var (
	names   = []string{"a", "b", "a.b", "a/b", "~", "", "__proto__", "🙂", "c\"\\"}
	scalars = []string{`null`, `true`, `false`, `0`, `-0.0`, `1`, `1.0`, `10e-1`, `1e400`, `0.1e401`, `9007199254740993`, `""`, `"x"`, `"\u0078"`, `"y"`, `"\n\u0000\ud800"`}
)

func drawValue(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	switch {
	case depth > 0 && kind >= 4:
		return drawObject(t, depth-1)
	case depth > 0 && kind == 3:
		var elems []string
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			elems = append(elems, drawValue(t, depth-1))
		}
		return "[" + strings.Join(elems, ", ") + "]"
	}
	return rapid.SampledFrom(scalars).Draw(t, "scalar")
}

func drawObject(t *rapid.T, depth int, more ...string) string {
	members := more
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		name, _ := json.Marshal(rapid.SampledFrom(names).Draw(t, "name"))
		members = append(members, string(name)+" : "+drawValue(t, depth))
	}
	return "{" + strings.Join(members, ",") + "}"
}

var unsetPaths = []string{"a", "b", "a.b", "/a~1b", "/a/b", "a.a.b", "", "/~0", "__proto__.a", "c\"\\", "nothing"}

func drawPatch(t *rapid.T) Patch {
	p := Patch{Late: rapid.IntRange(0, 3).Draw(t, "late") == 0}
	if rapid.IntRange(0, 4).Draw(t, "with payload") > 0 {
		var more []string
		if rapid.IntRange(0, 2).Draw(t, "with $unset") == 0 {
			paths, _ := json.Marshal(rapid.SliceOfN(rapid.SampledFrom(unsetPaths), 0, 3).Draw(t, "unset"))
			more = append(more, `"$unset":`+string(paths))
		}
		p.Payload = []byte(drawObject(t, 3, more...))
	}
	if rapid.Bool().Draw(t, "with traits") {
		p.Traits = []byte(drawObject(t, 3))
	}
	return p
}

func drawDocument(t *rapid.T) Document {
	d, err := Parse([]byte(drawObject(t, 3)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func apply(t *rapid.T, d *Document, p Patch) []Change {
	changes, err := d.Apply(p, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// checkChanges holds one answer against its promises.
func checkChanges(t *rapid.T, before, after *Document, changes []Change) {
	for i, c := range changes {
		if (c.Old == nil) != (c.Op == Add) || (c.New == nil) != (c.Op == Remove) || bytes.Equal(c.Old, c.New) {
			t.Fatalf("odd change %v", c)
		}
		for _, other := range changes[i+1:] {
			if c.Path == other.Path || strings.HasPrefix(other.Path, c.Path+"/") || strings.HasPrefix(c.Path, other.Path+"/") {
				t.Fatalf("changes overlap: %v, %v", c, other)
			}
		}
	}
	if (len(changes) == 0) != bytes.Equal(before.Text(), after.Text()) {
		t.Fatalf("%d changes from %s to %s", len(changes), before.Text(), after.Text())
	}
}

// Law 2: folding a profile's lineage from {} gives exactly its attributes, byte for byte.
func TestLaw_2_LineageFoldsIntoTheAttributes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Document
		var lineage []Change
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			before := d.Clone()
			var changes []Change
			if rapid.IntRange(0, 3).Draw(t, "step") == 0 {
				loser := drawDocument(t)
				text := string(loser.Text())
				var err error
				if changes, err = d.Absorb(&loser, DefaultLimits()); err != nil {
					t.Fatal(err)
				}
				if string(loser.Text()) != text {
					t.Fatalf("the loser changed")
				}
			} else {
				changes = apply(t, &d, drawPatch(t))
			}
			checkChanges(t, &before, &d, changes)
			lineage = append(lineage, changes...)
			folded, err := Fold(lineage)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(folded.Text(), d.Text()) {
				t.Fatalf("lineage folds into %s, attributes are %s\n%s", folded.Text(), d.Text(), list(lineage))
			}
		}
	})
}

// Law 7: an event that comes again changes nothing and writes no lineage, unless a list met a
// string the first time.
func TestLaw_7_MergeIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, p := drawDocument(t), drawPatch(t)
		if !p.Late && newOracle(t, d, p).united {
			t.Skip("a list met a string")
		}
		apply(t, &d, p)
		once := string(d.Text())
		if again := apply(t, &d, p); again != nil || string(d.Text()) != once {
			t.Fatalf("second time: %s\n%s became %s", list(again), once, d.Text())
		}
	})
}

func TestAbsorbIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, loser := drawDocument(t), drawDocument(t)
		if _, err := d.Absorb(&loser, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		if again, err := d.Absorb(&loser, DefaultLimits()); err != nil || again != nil {
			t.Fatalf("second time: %s, %v", list(again), err)
		}
	})
}

func TestLateNeverTakesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, p := drawDocument(t), drawPatch(t)
		p.Late = true
		for _, c := range apply(t, &d, p) {
			if c.Op != Add && c.Op != Union && c.Op != Append {
				t.Fatalf("late event: %v", c)
			}
		}
	})
}

func TestRefusalLeavesTheDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := Limits{Depth: rapid.IntRange(1, 4).Draw(t, "depth"), Leaves: rapid.IntRange(1, 8).Draw(t, "leaves"), Bytes: rapid.IntRange(2, 120).Draw(t, "bytes")}
		d, p := drawDocument(t), drawPatch(t)
		before, text := d.tree(), string(d.Text())
		free := d.Clone()
		apply(t, &free, p)
		changes, err := d.Apply(p, lim)
		after := free.tree()
		exceeds := func(next, old, limit int) bool { return next > limit && next > old }
		want := exceeds(int(after.depth), int(before.depth), lim.Depth) || exceeds(int(after.leaves), int(before.leaves), lim.Leaves) ||
			exceeds(len(free.Text()), len(text), lim.Bytes)
		switch {
		case want != errors.Is(err, ErrLimit):
			t.Fatalf("refused: %v, should be: %v", err, want)
		case want && (changes != nil || string(d.Text()) != text):
			t.Fatalf("refused, but %s became %s", text, d.Text())
		case !want && !bytes.Equal(d.Text(), free.Text()):
			t.Fatalf("limits change the result")
		}
	})
}

// oracle merges plain Go values after the table of the specification, knowing nothing of trees,
// texts or sharing. Numbers are rationals.
type oracle struct {
	late, united bool
	result       any
}

func newOracle(t interface{ Fatal(...any) }, d Document, p Patch) oracle {
	o := oracle{late: p.Late}
	state := plain(t, d.Text())
	if p.Payload != nil {
		next := plain(t, p.Payload).(map[string]any)
		if paths, ok := next["$unset"].([]any); ok && !p.Late {
			var gone [][]string
			for _, path := range paths {
				gone = append(gone, readings(state, path.(string), nil)...)
			}
			for _, path := range gone {
				remove(state, path)
			}
		}
		delete(next, "$unset")
		state = o.merge(state, next)
	}
	if p.Traits != nil {
		state = o.merge(state, plain(t, p.Traits))
	}
	o.result = state
	return o
}

// readings lists the members that an $unset path names, every reading of it.
func readings(state any, path string, above []string) (found [][]string) {
	at := func(state any, name string) (any, bool) {
		object, _ := state.(map[string]any)
		v, ok := object[name]
		return v, ok
	}
	if above == nil && strings.HasPrefix(path, "/") {
		v, ok, parents := state, true, []string{}
		for _, token := range strings.Split(path[1:], "/") {
			name := strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
			if v, ok = at(v, name); !ok {
				break
			}
			parents = append(parents, name)
		}
		if ok {
			found = append(found, parents)
		}
	}
	if _, ok := at(state, path); ok {
		found = append(found, append(append([]string{}, above...), path))
	}
	if first, rest, more := strings.Cut(path, "."); more {
		if below, ok := at(state, first); ok {
			found = append(found, readings(below, rest, append(append([]string{}, above...), first))...)
		}
	}
	return found
}

func remove(state any, path []string) {
	object, ok := state.(map[string]any)
	if ok && len(path) == 1 {
		delete(object, path[0])
	} else if ok {
		remove(object[path[0]], path[1:])
	}
}

func (o *oracle) merge(old, next any) any {
	switch x := old.(type) {
	case map[string]any:
		if y, ok := next.(map[string]any); ok {
			for name, v := range y {
				if before, ok := x[name]; ok {
					v = o.merge(before, v)
				}
				x[name] = v
			}
			return x
		}
	case string:
		if y, ok := next.([]any); ok {
			o.united = true
			result := []any{x}
			for _, v := range y {
				if !has(result, v) {
					result = append(result, v)
				}
			}
			return result
		}
	case []any:
		if y, ok := next.(string); ok {
			if has(x, y) {
				return x
			}
			return append(x, y)
		}
	}
	if o.late {
		return old
	}
	return next
}

func has(list []any, v any) bool {
	for _, x := range list {
		if reflect.DeepEqual(x, v) {
			return true
		}
	}
	return false
}

// plain reads JSON with the standard library. Strings lose NUL as the state store's do.
func plain(t interface{ Fatal(...any) }, text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return storable(v)
}

func storable(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			panic("no number: " + v.String())
		}
		return "number " + r.String()
	case string:
		return strings.ReplaceAll(v, "\x00", "\ufffd")
	case []any:
		for i := range v {
			v[i] = wrapNumber(storable(v[i]), v[i])
		}
	case map[string]any:
		for name, x := range v {
			v[name] = wrapNumber(storable(x), x)
		}
	}
	return v
}

// number keeps a number's normal form apart from strings.
type number struct{ rational string }

func wrapNumber(normal, raw any) any {
	if _, ok := raw.(json.Number); ok {
		return number{normal.(string)}
	}
	return normal
}

func TestMergeAgreesWithTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, p := drawDocument(t), drawPatch(t)
		want := newOracle(t, d, p).result
		before := string(d.Text())
		apply(t, &d, p)
		if got := plain(t, d.Text()); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s with %s, %s: got %v, want %v", before, p.Payload, p.Traits, got, want)
		}
	})
}

func TestNumbersAgreeWithRationals(t *testing.T) {
	digits := rapid.StringMatching(`[0-9]{1,6}`)
	draw := func(t *rapid.T, label string) string {
		text := rapid.SampledFrom([]string{"", "-"}).Draw(t, label+" sign")
		if whole := strings.TrimLeft(digits.Draw(t, label+" whole"), "0"); whole != "" {
			text += whole
		} else {
			text += "0"
		}
		if rapid.Bool().Draw(t, label+" with fraction") {
			text += "." + digits.Draw(t, label+" fraction")
		}
		if rapid.Bool().Draw(t, label+" with exponent") {
			text += fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"e", "E+", "e-", "e00", "E-0"}).Draw(t, label+" e"), rapid.IntRange(0, 20).Draw(t, label+" exponent"))
		}
		return text
	}
	rapid.Check(t, func(t *rapid.T) {
		a := draw(t, "a")
		b := draw(t, "b")
		if rapid.Bool().Draw(t, "shift") { // the same value in other words
			r, _ := new(big.Rat).SetString(a)
			b = r.FloatString(40) + "e0"
		}
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if got, want := equalNumbers(a, b), x.Cmp(y) == 0; got != want {
			t.Fatalf("%s = %s: got %v", a, b, got)
		}
	})
}

func TestNumbersWithHugeExponents(t *testing.T) {
	nines := strings.Repeat("9", 18)
	zeros := strings.Repeat("0", 1_000_000)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1e999999999", "10e999999998", true},
		{"1e999999999", "1e999999998", false},
		{"1e1" + zeros[:18], "10e" + nines, true},
		{"100e" + nines, "1e1" + zeros[:17] + "1", true},
		{"1e-1" + zeros[:18], "0.1e-" + nines, true},
		{"0.001e-" + nines, "1e-1" + zeros[:17] + "2", true},
		{"1e1" + zeros, "10e" + strings.Repeat("9", len(zeros)), true},
		{"1e1" + zeros, "1e-1" + zeros, false},
		{"0e1" + zeros, "-0", true},
		{"1" + zeros, "1e1000000", true},
		{"0." + zeros + "1", "1e-1000001", true},
		{"1e+" + zeros + "5", "100000", true},
		{"1", "-1", false},
	} {
		if got := equalNumbers(c.a, c.b); got != c.want {
			t.Errorf("%.30s = %.30s: got %v", c.a, c.b, got)
		}
	}
}

func TestKeysAgreeWithEquality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := build([]byte(drawValue(t, 3))), build([]byte(drawValue(t, 3)))
		if got, want := bytes.Equal(a.appendKey(nil), b.appendKey(nil)), equal(a, b); got != want {
			t.Fatalf("%s, %s: same key %v, equal %v", a.appendText(nil), b.appendText(nil), got, want)
		}
	})
}
