package model

import (
	"bytes"
	"encoding/json" //nolint:depguard // the oracle shares no decoder with what it is held against
	"fmt"
	"reflect"
	"strings"
)

type number = json.Number

// Absent is the old value of what was not there, and the new value of what is no more.
var Absent = absent{}

type absent struct{}

// Equal compares by JSON value: 1 is 1.0.
func Equal(a, b any) bool { return reflect.DeepEqual(normal(a), normal(b)) }

// Text is a value's JSON with sorted names and one text for each number, whatever it came as.
func Text(v any) string {
	if v == Absent {
		return "absent"
	}
	b, err := json.Marshal(normal(v))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// normal is a value with one text for each number.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n := map[string]any{}
		for k, x := range v {
			n[k] = normal(x)
		}
		return n
	case []any:
		n := []any{}
		for _, x := range v {
			n = append(n, normal(x))
		}
		return n
	case json.Number:
		return json.Number(decimal(string(v)))
	}
	return v
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n := map[string]any{}
		for k, x := range v {
			n[k] = clone(x)
		}
		return n
	case []any:
		n := []any{}
		for _, x := range v {
			n = append(n, clone(x))
		}
		return n
	}
	return v
}

// object reads a raw JSON object; nil for anything else.
func object(raw []byte) map[string]any {
	o, _ := Decode(raw).(map[string]any)
	return o
}

// Decode reads JSON text, numbers as their text and NUL as U+FFFD; nil for no text.
func Decode(raw []byte) any {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(fmt.Sprintf("model: decode JSON: %v", err))
	}
	return withoutNUL(v)
}

func withoutNUL(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n := map[string]any{}
		for k, x := range v {
			n[text(k)] = withoutNUL(x)
		}
		return n
	case []any:
		for n := range v {
			v[n] = withoutNUL(v[n])
		}
		return v
	case string:
		return text(v)
	}
	return v
}

func text(s string) string { return strings.ReplaceAll(s, "\x00", "\ufffd") }

func size(v any) int {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return b.Len() - len("\n")
}
