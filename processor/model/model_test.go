package model

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

func TestDecimal(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "-0.0": "0", "0e7": "0", "1": "1", "1.0": "1", "1e0": "1", "-1": "-1", "100": "1e2", "1e2": "1e2", "100.00": "1e2",
		"19.990": "1999e-2", "0.001": "1e-3", "9007199254740993": "9007199254740993", "1E+400": "1e400", "12e-1": "12e-1",
	} {
		if got := decimal(number); got != want {
			t.Errorf("%s: %s, want %s", number, got, want)
		}
	}
}

// The tables of 2.6, which the engine's tests do not take the model's word for either.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ old, next, want, late string }{
		{`{}`, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		{`{"a":{"x":1}}`, `{"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`, `{"a":{"x":1,"y":2}}`},
		{`{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`, `{"a":[1,2]}`},
		{`{"a":"x"}`, `{"a":["y","x","y"]}`, `{"a":["x","y"]}`, `{"a":["x","y"]}`},
		{`{"a":["x"]}`, `{"a":"y"}`, `{"a":["x","y"]}`, `{"a":["x","y"]}`},
		{`{"a":["x"]}`, `{"a":"x"}`, `{"a":["x"]}`, `{"a":["x"]}`},
		{`{"a":[1]}`, `{"a":2}`, `{"a":2}`, `{"a":[1]}`},
		{`{"a":{"x":1}}`, `{"a":1}`, `{"a":1}`, `{"a":{"x":1}}`},
		{`{"a":null}`, `{"a":1}`, `{"a":1}`, `{"a":null}`},
		{`{"a":1}`, `{"a":null}`, `{"a":null}`, `{"a":1}`},
	} {
		for late, want := range map[bool]string{false: c.want, true: c.late} {
			if got := Text(merge(Decode([]byte(c.old)), Decode([]byte(c.next)), late)); got != want {
				t.Errorf("%s, then %s, late %t: %s, want %s", c.old, c.next, late, got, want)
			}
		}
	}
}

func TestUnset(t *testing.T) {
	for path, want := range map[string]string{
		"a": `{"b.c":1,"d/e":2}`, "a.x": `{"a":{},"b.c":1,"d/e":2}`, "b.c": `{"a":{"x":1},"d/e":2}`,
		"/d~1e": `{"a":{"x":1},"b.c":1}`, "/a/x": `{"a":{},"b.c":1,"d/e":2}`, "none": `{"a":{"x":1},"b.c":1,"d/e":2}`,
	} {
		o := object([]byte(`{"a":{"x":1},"b.c":1,"d/e":2}`))
		if unset(o, []any{path}); Text(o) != want {
			t.Errorf("%s: %s, want %s", path, Text(o), want)
		}
	}
}

func TestDiffSeesADifference(t *testing.T) {
	tenant := uuid.UUID{1}
	say := func(events ...Event) *Model {
		m := New(nil)
		for _, e := range events {
			m.Apply(e)
		}
		return m
	}
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	e := Event{Tenant: tenant, MessageID: "m", Type: event.Identify, Payload: []byte(`{"a":1}`), At: at, ReceivedAt: at,
		IDs: event.Identifiers{Verified: []event.Identifier{{Kind: event.KindCRM, Value: "u", Node: event.NodeID(tenant, event.KindCRM, "u")}}}}
	other := e
	other.Payload = []byte(`{"a":2}`)
	if diff := Diff(say(e), say(e, e)); diff != "" {
		t.Errorf("the same message twice differs:\n%s", diff)
	}
	if diff := Diff(say(e), say(other)); strings.Count(diff, "\n- ")+strings.Count(diff, "\n+ ") != 3 {
		t.Errorf("profiles and lineage should differ, both ways:\n%s", diff)
	}
}
