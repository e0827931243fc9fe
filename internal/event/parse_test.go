package event

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestParseIdentifier(t *testing.T) {
	tenant := uuid.MustParse("0b5e7a1c-0000-7000-8000-6b6579737466")
	s := DefaultSettings()
	s.Kinds, s.DefaultRegion = []string{"loyalty"}, "DE"
	for text, want := range map[string]Identifier{
		"email:Ann@Example.com ": {Kind: KindEmail, Value: "ann@example.com"},
		"phone:0170 1234567":     {Kind: KindPhone, Value: "+491701234567"},
		"crm_id:a:b":             {Kind: KindCRM, Value: "a:b"},
		"loyalty:7":              {Kind: "loyalty", Value: "7"},
		"anonymous:device-1":     {Kind: KindAnonymous, Value: "device-1"},
	} {
		want.Node = NodeID(tenant, want.Kind, want.Value)
		if got, err := ParseIdentifier(text, tenant, &s); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, word := range map[string]string{
		"ann@example.com": "kind:value", "fax:1": "fax", "phone:hello": "phone", "anonymous:null": "nobody", "email:": "email",
	} {
		if got, err := ParseIdentifier(text, tenant, &s); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
