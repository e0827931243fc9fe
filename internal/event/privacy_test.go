package event

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestPrivacyRules(t *testing.T) {
	blocked := func(list string, entries ...string) Settings {
		s := DefaultSettings()
		s.Blocked = map[string][]string{list: entries}
		return s
	}
	for name, x := range map[string]struct {
		s    Settings
		want string // part of the error; empty: none
	}{
		"a network":             {blocked(BlockedIPs, "203.0.113.0/24", "10.1.2.3", "2001:db8::/32", "::1"), ""},
		"an IP mode":            {Settings{IP: IPTruncate}, ""},
		"no IP mode":            {Settings{IP: "half"}, `ip must be full, truncate or drop, not "half"`},
		"no network":            {blocked(BlockedIPs, "shop.example"), "no address or network"},
		"a zone":                {blocked(BlockedIPs, "fe80::1%eth0"), "no address or network"},
		"everybody":             {blocked(BlockedIPs, "0.0.0.0/0"), "wider than /4"},
		"IPv4 dressed up":       {blocked(BlockedIPs, "::ffff:1.2.3.0/120"), "written as such"},
		"everybody's agent":     {blocked(BlockedUserAgents, "a"), "3 to 256 bytes"},
		"an empty name":         {blocked(BlockedEventNames, ""), "1 to 256 bytes"},
		"white space":           {blocked(BlockedEventNames, "a "), "white space"},
		"an endless id":         {blocked(BlockedAnonymousIDs, strings.Repeat("x", 257)), "1 to 256 bytes"},
		"no such list":          {blocked("emails", "a"), "blocked.emails: no such list"},
		"too many":              {blocked(BlockedEventNames, make([]string, MaxBlocked+1)...), "at most 1000 entries"},
		"an address and a name": {blocked(BlockedIPs, "x"), `blocked.ips: "x"`},
	} {
		err := x.s.Validate()
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	both := Settings{IP: "half", Blocked: map[string][]string{"x": nil, BlockedIPs: {"y"}}}
	if err := both.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not every broken rule: %v", err)
	}
}

func TestOverlayOfBlocklists(t *testing.T) {
	base := DefaultSettings()
	base.Blocked = map[string][]string{BlockedIPs: {"10.0.0.1", "10.0.0.2"}, BlockedEventNames: {"a"}}
	got, err := base.Overlay([]byte(`{"ip":"drop","blocked":{"ips":["10.0.0.3"]}}`))
	if err != nil || got.IP != IPDrop || !reflect.DeepEqual(got.Blocked, map[string][]string{BlockedIPs: {"10.0.0.3"}, BlockedEventNames: {"a"}}) {
		t.Errorf("%+v %v", got, err)
	}
	if !reflect.DeepEqual(base.Blocked[BlockedIPs], []string{"10.0.0.1", "10.0.0.2"}) {
		t.Errorf("the settings beneath changed: %v", base.Blocked)
	}
	if got, err = base.Overlay([]byte(`{"blocked":null}`)); err != nil || got.Blocked != nil {
		t.Errorf("%+v %v", got, err)
	}
}

func TestTruncateAddress(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.77": "203.0.113.0", "::ffff:203.0.113.77": "203.0.113.0", "2001:db8:1:2:3:4:5:6": "2001:db8:1::", "fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := TruncateAddress(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if a := TruncateAddress(netip.Addr{}); a.IsValid() {
		t.Errorf("no address became %s", a)
	}
}
