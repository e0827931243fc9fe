package event

import (
	"reflect"
	"strings"
	"testing"
)

func TestOverlay(t *testing.T) {
	base := Settings{DefaultRegion: "DE", PromoteTraits: true, Kinds: []string{"loyalty"}, Limits: map[string]int{"loyalty": 2, "email": 3}}
	with := func(change func(*Settings)) Settings {
		s := Settings{DefaultRegion: "DE", PromoteTraits: true, Kinds: []string{"loyalty"}, Limits: map[string]int{"loyalty": 2, "email": 3}}
		change(&s)
		return s
	}
	for name, x := range map[string]struct {
		text string
		want Settings
	}{
		"nothing":                      {`{}`, base},
		"a switch":                     {`{"promote_traits":false}`, with(func(s *Settings) { s.PromoteTraits = false })},
		"one limit leaves the others":  {`{"limits":{"email":1}}`, with(func(s *Settings) { s.Limits["email"] = 1 })},
		"null brings the limits back":  {`{"limits":null}`, with(func(s *Settings) { s.Limits = nil })},
		"kinds are replaced as a list": {` {"kinds":["card","loyalty"]} `, with(func(s *Settings) { s.Kinds = []string{"card", "loyalty"} })},
	} {
		got, err := base.Overlay([]byte(x.text))
		if err != nil || !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if !reflect.DeepEqual(base, with(func(*Settings) {})) {
		t.Errorf("the settings beneath changed: %+v", base)
	}
	for name, x := range map[string]struct {
		text string
		want []string
	}{
		"an unknown member":          {`{"limit":{"email":1}}`, []string{`unknown field "limit"`}},
		"a wrong type":               {`{"limits":{"email":"one"}}`, []string{"limits"}},
		"no object":                  {`null`, []string{"must be a JSON object"}},
		"nothing at all":             {``, []string{"must be a JSON object"}},
		"two objects":                {`{} {}`, []string{"something follows"}},
		"all broken rules at once":   {`{"default_region":"xx","limits":{"email":0,"shoe":1}}`, []string{"default_region", "limits.email", "limits.shoe"}},
		"a limit of a kind gone":     {`{"kinds":[]}`, []string{"limits.loyalty"}},
		"a limit by null is no rule": {`{"limits":{"email":null}}`, []string{"limits.email must be at least 1"}},
	} {
		_, err := base.Overlay([]byte(x.text))
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		for _, part := range x.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not name %q", name, err, part)
			}
		}
	}
}
