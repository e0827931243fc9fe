package attribute

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

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

// number is a number by its value, apart from all strings.
type number struct{ rational string }

func storable(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			panic("no number: " + v.String())
		}
		return number{r.String()}
	case string:
		return strings.ReplaceAll(v, "\x00", "\ufffd")
	case []any:
		for i := range v {
			v[i] = storable(v[i])
		}
	case map[string]any:
		for name, x := range v {
			v[name] = storable(x)
		}
	}
	return v
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
