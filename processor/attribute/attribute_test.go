package attribute

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func document(t testing.TB, text string) Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse %.200s: %v", text, err)
	}
	return d
}

func (c Change) String() string {
	switch c.Op {
	case Add:
		return fmt.Sprintf("add %s %s", c.Path, c.New)
	case Remove:
		return fmt.Sprintf("remove %s %s", c.Path, c.Old)
	}
	return fmt.Sprintf("%s %s %s -> %s", c.Op, c.Path, c.Old, c.New)
}

func list(changes []Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

// check applies one patch to a document and compares the outcome and its lineage, line by line.
func check(t *testing.T, before string, p Patch, after string, lineage ...string) {
	t.Helper()
	d := document(t, before)
	changes, err := d.Apply(p, DefaultLimits())
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if got := string(d.Text()); got != after {
		t.Errorf("%s: got %s, want %s", before, got, after)
	}
	if got, want := list(changes), strings.Join(lineage, "\n"); got != want {
		t.Errorf("%s: lineage\n%s\nwant\n%s", before, got, want)
	}
}

func payload(text string) Patch { return Patch{Payload: []byte(text)} }

func TestCase_31_OneRowForTheChangedLeaf(t *testing.T) {
	check(t, `{"city":"Chicago","name":"Ann"}`, payload(`{"city":"Miami","name":"Ann"}`),
		`{"city":"Miami","name":"Ann"}`, `update /city "Chicago" -> "Miami"`)
}

func TestCase_32_SecondIdentifyWritesNothing(t *testing.T) {
	var d Document
	p := payload(`{"a":{"b":[1,{"c":null}],"d":{}},"e":"f"}`)
	if changes, err := d.Apply(p, DefaultLimits()); err != nil || len(changes) != 3 {
		t.Fatalf("first: %v, %v", changes, err)
	}
	text := d.Text()
	if changes, err := d.Apply(p, DefaultLimits()); err != nil || len(changes) != 0 {
		t.Fatalf("second: %v, %v", changes, err)
	}
	if &text[0] != &d.Text()[0] {
		t.Error("an unchanged document was written again")
	}
}

func TestCase_33_ListReplacesList(t *testing.T) {
	check(t, `{"a":[1,2]}`, payload(`{"a":[2,3]}`), `{"a":[2,3]}`, `replace /a [1,2] -> [2,3]`)
	check(t, `{"a":[1]}`, payload(`{"a":[1,2]}`), `{"a":[1,2]}`, `replace /a [1] -> [1,2]`)
	check(t, `{"a":[]}`, payload(`{"a":["x"]}`), `{"a":["x"]}`, `replace /a [] -> ["x"]`)
}

func TestCase_34_StringThenListUnites(t *testing.T) {
	check(t, `{"a":"x"}`, payload(`{"a":["y","x","y",1,1.0]}`), `{"a":["x","y",1]}`, `union /a "x" -> ["x","y",1]`)
}

func TestCase_35_ListThenStringAppendsOnce(t *testing.T) {
	check(t, `{"a":["x"]}`, payload(`{"a":"y"}`), `{"a":["x","y"]}`, `append /a ["x"] -> ["x","y"]`)
	check(t, `{"a":["x","y"]}`, payload(`{"a":"y"}`), `{"a":["x","y"]}`)
	check(t, `{"a":[]}`, payload(`{"a":"y"}`), `{"a":["y"]}`, `append /a [] -> ["y"]`)
}

func TestCase_36_ScalarReplacesObject(t *testing.T) {
	check(t, `{"a":{"b":1,"c":{"d":2}}}`, payload(`{"a":5}`), `{"a":5}`, `update /a {"b":1,"c":{"d":2}} -> 5`)
	check(t, `{"a":5}`, payload(`{"a":{"b":1}}`), `{"a":{"b":1}}`, `update /a 5 -> {"b":1}`)
}

func TestCase_37_NullAndUnset(t *testing.T) {
	check(t, `{"a":1}`, payload(`{"a":null}`), `{"a":null}`, `update /a 1 -> null`)
	check(t, `{}`, payload(`{"a":null}`), `{"a":null}`, `add /a null`)
	check(t, `{"a":1,"b":2}`, payload(`{"$unset":["a"]}`), `{"b":2}`, `remove /a 1`)
}

func TestCase_38_NumbersByValueWithTheirText(t *testing.T) {
	check(t, `{"price":100.00}`, payload(`{"price":100}`), `{"price":100.00}`)
	check(t, `{"n":9007199254740993}`, payload(`{"n":9007199254740992}`), `{"n":9007199254740992}`,
		`update /n 9007199254740993 -> 9007199254740992`)
}

func TestCase_39_LateOnlyFills(t *testing.T) {
	check(t, `{"a":1,"n":null,"o":{"x":1},"l":[1],"s":"s","t":["t"]}`,
		Patch{Late: true, Payload: []byte(`{"a":2,"n":3,"o":{"x":9,"y":2},"l":[2],"s":["u"],"t":"v","new":4,"$unset":["a"]}`)},
		`{"a":1,"l":[1],"n":null,"new":4,"o":{"x":1,"y":2},"s":["s","u"],"t":["t","v"]}`,
		`add /new 4`, `add /o/y 2`, `union /s "s" -> ["s","u"]`, `append /t ["t"] -> ["t","v"]`)
}

func TestCase_40_HostileNames(t *testing.T) {
	long := strings.Repeat("k", 10<<10)
	for name, pointer := range map[string]string{
		`__proto__`: `/__proto__`, `constructor`: `/constructor`, `a.b`: `/a.b`, `a/b`: `/a~1b`, `~`: `/~0`, ``: `/`,
		`~1`: `/~01`, long: "/" + long, `🙂`: `/🙂`, `a\"b`: `/a"b`, `\u0000`: "/\ufffd", `\ud800`: "/\ufffd", `\n`: "/\n",
	} {
		var d Document
		changes, err := d.Apply(payload(`{"`+name+`":{"x":1}}`), DefaultLimits())
		if err != nil || len(changes) != 1 || changes[0].Path != pointer+"/x" {
			t.Errorf("%.20q: %v, %v", name, changes, err)
			continue
		}
		folded, err := Fold(changes)
		if err != nil || string(folded.Text()) != string(d.Text()) {
			t.Errorf("%.20q: folds into %.80s, %v", name, folded.Text(), err)
		}
		again := document(t, string(d.Text()))
		if !equal(again.tree(), d.tree()) {
			t.Errorf("%.20q: reads back as %.80s", name, again.Text())
		}
	}
}

func TestCase_41_BeyondTheLimitsIsRefusedWhole(t *testing.T) {
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":%d`, i, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
	}
	wide := `{"s":"` + strings.Repeat("x", 256<<10-len(`{"s":""}`)) + `"}`
	for name, c := range map[string]struct{ fits, exceeds string }{
		"leaves":            {members(2000), members(2001)},
		"depth":             {nested(32), nested(33)},
		"bytes":             {wide, strings.Replace(wide, `x"`, `xx"`, 1)},
		"depth of an array": {`{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`},
	} {
		var d Document
		if _, err := d.Apply(payload(c.fits), DefaultLimits()); err != nil {
			t.Errorf("%s: at the limit: %v", name, err)
		}
		for part, p := range map[string]Patch{"payload": payload(c.exceeds), "traits": {Traits: []byte(c.exceeds)}} {
			d := document(t, `{"k0":"before"}`)
			changes, err := d.Apply(p, DefaultLimits())
			if !errors.Is(err, ErrLimit) || changes != nil || string(d.Text()) != `{"k0":"before"}` {
				t.Errorf("%s: beyond the limit in %s: %v, %d changes", name, part, err, len(changes))
			}
		}
	}
}

func TestCase_42_NumberMeetsList(t *testing.T) {
	check(t, `{"a":1}`, payload(`{"a":[2]}`), `{"a":[2]}`, `update /a 1 -> [2]`)
	check(t, `{"a":[2]}`, payload(`{"a":1}`), `{"a":1}`, `update /a [2] -> 1`)
}

func TestCase_10_ShadowCollapses(t *testing.T) {
	anchor, shadow := document(t, `{"b":3,"c":4}`), document(t, `{"a":1,"b":2}`)
	changes, err := anchor.Absorb(&shadow, DefaultLimits())
	if err != nil || list(changes) != `add /a 1` {
		t.Fatalf("absorb: %s, %v", list(changes), err)
	}
	if _, err := anchor.Apply(payload(`{"d":6}`), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if got := string(anchor.Text()); got != `{"a":1,"b":3,"c":4,"d":6}` {
		t.Errorf("got %s", got)
	}
	if got := string(shadow.Text()); got != `{"a":1,"b":2}` {
		t.Errorf("the loser became %s", got)
	}
}

func TestAbsorbIsRelativeToTheWinner(t *testing.T) {
	winner := document(t, `{"eq":1.0,"ls":["w"],"null":null,"o":{"x":1},"os":{"k":1},"sl":"w","so":2}`)
	loser := document(t, `{"eq":1,"ls":"l","new":{"p":1,"q":{}},"null":7,"o":{"x":2,"y":3},"os":4,"sl":["l"],"so":{"k":1}}`)
	changes, err := winner.Absorb(&loser, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(changes), strings.Join([]string{
		`union /ls ["w"] -> ["l","w"]`, `add /new/p 1`, `add /new/q {}`, `add /o/y 3`, `union /sl "w" -> ["l","w"]`,
	}, "\n"); got != want {
		t.Errorf("lineage\n%s\nwant\n%s", got, want)
	}
	if got, want := string(winner.Text()), `{"eq":1.0,"ls":["l","w"],"new":{"p":1,"q":{}},"null":null,"o":{"x":1,"y":3},"os":{"k":1},"sl":["l","w"],"so":2}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAbsorbKeepsLimits(t *testing.T) {
	winner, loser := document(t, `{"a":1}`), document(t, `{"b":1}`)
	if _, err := winner.Absorb(&loser, Limits{Depth: 1, Leaves: 1, Bytes: 100}); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
	if got := string(winner.Text()); got != `{"a":1}` {
		t.Errorf("the refused winner became %s", got)
	}
}

func TestOneChangePerPath(t *testing.T) {
	both := func(payload, traits string) Patch {
		return Patch{Payload: []byte(payload), Traits: []byte(traits)}
	}
	check(t, `{"a":1}`, both(`{"a":2}`, `{"a":3}`), `{"a":3}`, `update /a 1 -> 3`)
	check(t, `{"a":1}`, both(`{"a":2}`, `{"a":1.0}`), `{"a":1}`)
	check(t, `{"a":1,"b":1}`, both(`{"a":2,"b":2}`, `{"a":1e0}`), `{"a":1,"b":2}`, `update /b 1 -> 2`)
	check(t, `{}`, both(`{"a":{"b":1}}`, `{"a":5}`), `{"a":5}`, `add /a 5`)
	check(t, `{"a":5}`, both(`{"a":{"b":1}}`, `{"a":{"c":2}}`), `{"a":{"b":1,"c":2}}`, `update /a 5 -> {"b":1,"c":2}`)
	check(t, `{"a":"s"}`, both(`{"a":["t"]}`, `{"a":"u"}`), `{"a":["s","t","u"]}`, `union /a "s" -> ["s","t","u"]`)
	check(t, `{"a":["s"]}`, both(`{"a":"t"}`, `{"a":"u"}`), `{"a":["s","t","u"]}`, `append /a ["s"] -> ["s","t","u"]`)
	check(t, `{"a":["s"]}`, both(`{"a":["q"]}`, `{"a":"u"}`), `{"a":["q","u"]}`, `replace /a ["s"] -> ["q","u"]`)
	check(t, `{"a":"s"}`, both(`{"a":5}`, `{"a":["q"]}`), `{"a":["q"]}`, `update /a "s" -> ["q"]`)
	check(t, `{"a":1}`, payload(`{"$unset":["a"],"a":1}`), `{"a":1}`)
	check(t, `{"a":1}`, payload(`{"$unset":["a"],"a":2}`), `{"a":2}`, `update /a 1 -> 2`)
	check(t, `{"a":{"b":1,"c":2}}`, payload(`{"$unset":["a"],"a":{"b":1}}`), `{"a":{"b":1}}`, `remove /a/c 2`)
	check(t, `{"a":[1]}`, payload(`{"$unset":["a"],"a":"s"}`), `{"a":"s"}`, `update /a [1] -> "s"`)
}

func TestUnsetPaths(t *testing.T) {
	for name, c := range map[string]struct {
		before, paths, after string
		lineage              []string
	}{
		"dotted, the empty parent stays": {`{"a":{"b":1}}`, `["a.b"]`, `{"a":{}}`, []string{`remove /a/b 1`}},
		"an object goes whole":           {`{"a":{"b":1,"c":[2]}}`, `["a"]`, `{}`, []string{`remove /a {"b":1,"c":[2]}`}},
		"a name with a dot":              {`{"a.b":1}`, `["a.b"]`, `{}`, []string{`remove /a.b 1`}},
		"a name with a dot, below":       {`{"a":{"b.c":1}}`, `["a.b.c"]`, `{"a":{}}`, []string{`remove /a/b.c 1`}},
		"both readings":                  {`{"a.b":1,"a":{"b":2}}`, `["a.b"]`, `{"a":{}}`, []string{`remove /a/b 2`, `remove /a.b 1`}},
		"pointer":                        {`{"a/b":{"~":1}}`, `["/a~1b/~0"]`, `{"a/b":{}}`, []string{`remove /a~1b/~0 1`}},
		"a name that looks like one":     {`{"/a":1}`, `["/a"]`, `{}`, []string{`remove /~1a 1`}},
		"pointer past a dotted name":     {`{"a.b":{"c":1,"d":2}}`, `["/a.b/c"]`, `{"a.b":{"d":2}}`, []string{`remove /a.b/c 1`}},
		"the empty name":                 {`{"":1,"a":2}`, `[""]`, `{"a":2}`, []string{`remove / 1`}},
		"the empty name as pointer":      {`{"":1,"a":2}`, `["/"]`, `{"a":2}`, []string{`remove / 1`}},
		"absent, junk, into a scalar":    {`{"a":1}`, `["b","a.b",1,null,["a"],{"a":1},"..",".","//"]`, `{"a":1}`, nil},
		"nothing inside an array":        {`{"a":[{"b":1}]}`, `["a.0","a.0.b","a.b","/a/0"]`, `{"a":[{"b":1}]}`, nil},
		"no array":                       {`{"a":1}`, `"a"`, `{"a":1}`, nil},
		"outer and inner":                {`{"a":{"b":1}}`, `["a.b","a","a"]`, `{}`, []string{`remove /a {"b":1}`}},
		"NUL as stored":                  {`{"\u0000":1}`, `["\u0000"]`, `{}`, []string{"remove /\ufffd 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, c.before, payload(`{"$unset":`+c.paths+`}`), c.after, c.lineage...)
		})
	}
	t.Run("under its own name in traits", func(t *testing.T) {
		check(t, `{"a":1}`, Patch{Traits: []byte(`{"$unset":["a"]}`)}, `{"$unset":["a"],"a":1}`, `add /$unset ["a"]`)
	})
}

func TestWhatIsNoObjectSaysNothing(t *testing.T) {
	for _, raw := range []string{``, `null`, ` null `, `[]`, `"a"`, `1`, `{}`, ` { } `} {
		check(t, `{"a":1}`, Patch{Payload: []byte(raw), Traits: []byte(raw)}, `{"a":1}`)
	}
	for _, raw := range []string{`{`, `{"a"}`, `{"a":01}`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 200)} {
		d := document(t, `{"a":1}`)
		if _, err := d.Apply(payload(raw), DefaultLimits()); err == nil {
			t.Errorf("%.20s: accepted", raw)
		}
	}
}

func TestObjectsBelowAnEmptyOne(t *testing.T) {
	var d Document
	var lineage []Change
	for _, text := range []string{`{"a":{}}`, `{"a":{"b":{"c":1}}}`, `{"$unset":["a.b.c"]}`, `{"a":{"b":{"d":{}}}}`} {
		changes, err := d.Apply(payload(text), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		lineage = append(lineage, changes...)
	}
	folded, err := Fold(lineage)
	if err != nil || string(folded.Text()) != string(d.Text()) || string(d.Text()) != `{"a":{"b":{"d":{}}}}` {
		t.Errorf("%s folds into %s, %v", d.Text(), folded.Text(), err)
	}
}

func TestUnionOfManyIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates")
	}
	array := `["a"` + strings.Repeat(`,{"x":[1,2]},1e5,100000`, 20_000) + `]`
	check(t, `{"l":"s"}`, payload(`{"l":`+array+`}`), `{"l":["s","a",{"x":[1,2]},1e5]}`,
		`union /l "s" -> ["s","a",{"x":[1,2]},1e5]`)
}

func TestNoOpAllocatesLittle(t *testing.T) {
	d := document(t, fiftyKeys())
	p := payload(`{"key07":"value 7","key21":"value 21","nested":{"a":1.0}}`)
	d.tree()
	n := testing.AllocsPerRun(100, func() {
		if changes, err := d.Apply(p, DefaultLimits()); err != nil || changes != nil {
			t.Fatal(changes, err)
		}
	})
	if n > 8 {
		t.Errorf("%v allocations", n)
	}
}

func fiftyKeys() string {
	var members []string
	for i := range 49 {
		members = append(members, fmt.Sprintf(`"key%02d":"value %d"`, i, i))
	}
	slices.Sort(members)
	return "{" + strings.Join(members, ",") + `,"nested":{"a":1,"b":{"c":[1,2,3]}}}`
}
