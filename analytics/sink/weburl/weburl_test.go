package weburl

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, address string
		want          Parts
	}{
		{"all parts", "https://shop.example/cart/1?a=b&c#top", Parts{"shop.example", "/cart/1", "a=b&c"}},
		{"user, port and capitals go", "HTTPS://ann:pw@Shop.Example:8443/A", Parts{"shop.example", "/A", ""}},
		{"no path", "https://shop.example?x=1", Parts{"shop.example", "", "x=1"}},
		{"question mark after the fragment", "https://a.example/#/x?y", Parts{"a.example", "/", ""}},
		{"scheme relative", "//cdn.example/x.js", Parts{"cdn.example", "/x.js", ""}},
		{"path only", "/cart?x", Parts{"", "/cart", "x"}},
		{"relative path", "cart/1", Parts{"", "cart/1", ""}},
		{"no scheme", "shop.example/cart", Parts{"", "shop.example/cart", ""}},
		{"IPv6", "http://[2001:DB8::1]:80/x", Parts{"2001:db8::1", "/x", ""}},
		{"IPv6 cut short", "http://[2001:db8", Parts{}},
		{"app", "android-app://com.google.android.gm/", Parts{"com.google.android.gm", "/", ""}},
		{"opaque", "mailto:ann@example.com", Parts{}},
		{"about", "about:blank", Parts{}},
		{"space around", "  https://a.example/ ", Parts{"a.example", "/", ""}},
		{"empty", "", Parts{}},
		{"junk", "::://?#", Parts{"", ":::", ""}},
		{"NUL", "https://a\x00b/\x00", Parts{"a\x00b", "/\x00", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Parse(tt.address)
			if tt.name == "junk" {
				return // any answer will do, a panic will not
			}
			if got != tt.want {
				t.Errorf("Parse(%q) = %+v, want %+v", tt.address, got, tt.want)
			}
		})
	}
}

// Where the standard library takes an absolute address, the parts are the same.
func TestParseAgreesWithNetURL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.StringMatching(`https?://([a-zA-Z0-9]{1,4}(:[a-z]{1,3})?@)?[a-zA-Z0-9.-]{1,12}(:[0-9]{1,4})?(/[a-zA-Z0-9/_.~-]{0,9})?(\?[a-z=&%+0-9]{0,9})?(#[a-z/?]{0,5})?`).Draw(t, "address")
		want, err := url.Parse(address)
		if err != nil {
			t.Skip()
		}
		got := Parse(address)
		if got.Host != strings.ToLower(want.Hostname()) || got.Path != want.EscapedPath() || got.Query != want.RawQuery {
			t.Fatalf("Parse(%q) = %+v, want %q %q %q", address, got, want.Hostname(), want.EscapedPath(), want.RawQuery)
		}
	})
}

func TestParseNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Parse(rapid.String().Draw(t, "address"))
		q := Params(p.Query)
		for _, value, ok := q.Next(); ok; _, value, ok = q.Next() {
			Unescape(value)
		}
	})
}

func TestUnescapeAgreesWithNetURL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.String().Draw(t, "value")
		if got := Unescape(url.QueryEscape(value)); got != value {
			t.Fatalf("Unescape(QueryEscape(%q)) = %q", value, got)
		}
	})
}

func TestUnescapeKeepsWhatIsBroken(t *testing.T) {
	for value, want := range map[string]string{
		"100%": "100%", "%zz": "%zz", "%4": "%4", "a+b": "a b", "%E4": "\ufffd", "%C3%A4": "ä", "plain": "plain",
	} {
		if got := Unescape(value); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestParams(t *testing.T) {
	var got []string
	q := Params("utm_source=a&&b&=c&d=e=f")
	for key, value, ok := q.Next(); ok; key, value, ok = q.Next() {
		got = append(got, key+"|"+value)
	}
	if text := strings.Join(got, " "); text != "utm_source|a b| |c d|e=f" {
		t.Error(text)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	const address = "https://shop.example/cart/1?utm_source=news&utm_medium=email&gclid=xyz#top"
	if n := testing.AllocsPerRun(100, func() {
		p := Parse(address)
		q := Params(p.Query)
		for _, value, ok := q.Next(); ok; _, value, ok = q.Next() {
			Unescape(value)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
