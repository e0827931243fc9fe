package event

import (
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-json"
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
		"null brings one limit back":   {`{"limits":{"email":null}}`, with(func(s *Settings) { delete(s.Limits, "email") })},
		"null brings a text back":      {`{"default_region":null}`, with(func(s *Settings) { s.DefaultRegion = "US" })},
		"null takes the kinds away":    {`{"kinds":null,"limits":null}`, with(func(s *Settings) { s.Kinds, s.Limits = nil, nil })},
		"null of what was not there":   {`{"ip":null,"blocked":{"ips":null},"retention_days":null,"promote_traits":null}`, base},
		"one blocklist":                {`{"blocked":{"ips":["203.0.113.7"]}}`, with(func(s *Settings) { s.Blocked = map[string][]string{"ips": {"203.0.113.7"}} })},
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
		"an unknown member":        {`{"limit":{"email":1}}`, []string{`"limit" is no setting`, "limits", "default_region"}},
		"a wrong type":             {`{"limits":{"email":"one"}}`, []string{"limits: "}},
		"a wrong type of a number": {`{"retention_days":"30"}`, []string{"retention_days: "}},
		"several at once":          {`{"limit":1,"ipp":"drop"}`, []string{`"limit" is no setting`, `"ipp" is no setting`}},
		"no object":                {`null`, []string{"must be a JSON object"}},
		"nothing at all":           {``, []string{"must be a JSON object"}},
		"two objects":              {`{} {}`, []string{"something follows"}},
		"all broken rules at once": {`{"default_region":"xx","limits":{"email":0,"shoe":1}}`, []string{"default_region", "limits.email", "limits.shoe"}},
		"a limit of a kind gone":   {`{"kinds":[]}`, []string{"limits.loyalty"}},
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

// Every member of the stored form can be set, and null brings its default back.
func TestOverlayKnowsEverySetting(t *testing.T) {
	full := Settings{DefaultRegion: "DE", Kinds: []string{"loyalty"}, Limits: map[string]int{"email": 1}, IP: IPDrop,
		Blocked: map[string][]string{BlockedIPs: {"203.0.113.7"}}, RetentionDays: 30}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DefaultSettings().Overlay(text); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("%s: %+v, %v", text, got, err)
	}
	for i := range reflect.TypeFor[Settings]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[Settings]().Field(i).Tag.Get("json"), ",")
		if reflect.ValueOf(full).Field(i).IsZero() && name != "promote_traits" {
			t.Errorf("the test says nothing about %s", name)
		}
		got, err := full.Overlay([]byte(`{"` + name + `":null}`))
		if err != nil || !reflect.DeepEqual(reflect.ValueOf(got).Field(i).Interface(), reflect.ValueOf(DefaultSettings()).Field(i).Interface()) {
			t.Errorf("%s by null: %+v, %v", name, got, err)
		}
	}
}
