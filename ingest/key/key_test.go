package key

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

func TestFromHeader(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"none":                           {nil, ""},
		"x-api-key":                      {[]string{"x-api-key", " ks_trk_a "}, "ks_trk_a"},
		"basic user":                     {[]string{"Authorization", basic("ks_trk_a:")}, "ks_trk_a"},
		"basic, lower case scheme":       {[]string{"Authorization", "b" + basic("ks_trk_a:")[1:]}, "ks_trk_a"},
		"basic without padding":          {[]string{"Authorization", strings.TrimRight(basic("ks_trk_ab:"), "=")}, "ks_trk_ab"},
		"basic without colon":            {[]string{"Authorization", basic("ks_trk_a")}, "ks_trk_a"},
		"basic password only":            {[]string{"Authorization", basic(":ks_int_b")}, "ks_int_b"},
		"empty basic is no key":          {[]string{"Authorization", basic(":"), "X-Write-Key", "ks_trk_w"}, "ks_trk_w"},
		"undecodable basic is a bad key": {[]string{"Authorization", "Basic !!!", "X-Write-Key", "ks_trk_w"}, "!!!"},
		"overlong basic is a bad key":    {[]string{"Authorization", "Basic " + strings.Repeat("A", 4096)}, strings.Repeat("A", 4096)},
		"bearer":                         {[]string{"Authorization", "Bearer ks_int_b"}, "ks_int_b"},
		"another scheme is no key":       {[]string{"Authorization", "Digest x"}, ""},
		"write key":                      {[]string{"X-Write-Key", "ks_trk_w"}, "ks_trk_w"},
		"write key id:secret":            {[]string{"X-Write-Key", "js.1:ks_trk_w"}, "ks_trk_w"},
		"write key with ours first":      {[]string{"X-Write-Key", "ks_trk_w:***"}, "ks_trk_w"},
		"write key without secret":       {[]string{"X-Write-Key", "abc:"}, ""},
		"write key, both foreign":        {[]string{"X-Write-Key", "a:b"}, "b"},
		"x-api-key comes first":          {[]string{"Authorization", "Bearer b", "X-Api-Key", "a"}, "a"},
		"authorization before write key": {[]string{"X-Write-Key", "w", "Authorization", "Bearer b"}, "b"},
	} {
		var h fasthttp.RequestHeader
		for i := 0; i < len(c.headers); i += 2 {
			h.Set(c.headers[i], c.headers[i+1])
		}
		var scratch Scratch
		if got := string(FromHeader(&h, &scratch)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		list, origin string
		want         bool
	}{
		{"", "https://any.example", true},
		{"https://shop.example", "", true},
		{"https://shop.example", "https://shop.example", true},
		{"https://Shop.Example/", "https://shop.EXAMPLE", true},
		{"https://shop.example", "http://shop.example", false},
		{"https://shop.example", "https://shop.example:8443", false},
		{"https://shop.example", "https://shop.example.evil.example", false},
		{"https://shop.example", "null", false},
		{"null", "null", true},
		{"*", "https://x", true},
		{"https://a.example https://*.shop.example", "https://eu.shop.example", true},
		{"https://*.shop.example", "https://a.b.shop.example", true},
		{"https://*.shop.example", "https://shop.example", false},
		{"https://*.shop.example", "https://.shop.example", false},
		{"https://*.shop.example", "https://evilshop.example", false},
		{"https://*.shop.example", "http://eu.shop.example", false},
	} {
		g := newGrant(Key{Origins: strings.Fields(c.list)}, nil)
		if got := g.AllowsOrigin([]byte(c.origin)); got != c.want {
			t.Errorf("%q allows %q: %v", c.list, c.origin, got)
		}
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := func() int64 { return time.Now().UnixNano() }
		g := newGrant(Key{RatePerSecond: 10, Burst: 3}, nil)
		for i := range 3 {
			if wait := g.Take(now()); wait != 0 {
				t.Fatalf("event %d of the burst waits %s", i, wait)
			}
		}
		if wait := g.Take(now()); wait != 100*time.Millisecond {
			t.Errorf("the fourth waits %s", wait)
		}
		time.Sleep(100 * time.Millisecond)
		if g.Take(now()) != 0 || g.Take(now()) == 0 {
			t.Error("after one interval exactly one more passes")
		}
		time.Sleep(time.Second)
		if g.Take(now()) != 0 {
			t.Error("the bucket fills again")
		}
		g.Charge(19, now()) // a batch of 20: two seconds' worth
		if wait := g.Take(now()); wait < 1700*time.Millisecond || wait > 2*time.Second {
			t.Errorf("after a batch the key waits %s", wait)
		}
		g.Charge(1<<30, now())
		if wait := g.Take(now()); wait > 3*time.Minute {
			t.Errorf("a debt of %s", wait)
		}
		if free := newGrant(Key{}, nil); free.Take(now()) != 0 {
			t.Error("no limit by default")
		}
	})
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{ExpireAfter: time.Minute}.Validate()
	for _, rule := range []string{"refresh_after", "lookup_timeout", "10 s", "max_known"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
