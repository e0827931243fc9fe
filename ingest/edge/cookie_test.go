package edge

import (
	"net/http"
	"strings"
	"testing"
)

func TestCookieIsRenewed(t *testing.T) {
	const id = "0192f0c1-7a1b-7c3d-8e4f-5a6b7c8d9e0f"
	on := newRig(t, options{edge: func(c *Config) { c.RenewCookie = true }})
	type request struct {
		domain, host, origin, cookie, site string
	}
	// good is what the tracker of www.shop.example sends to its edge.
	good := request{"shop.example", "cdp.shop.example", "https://www.shop.example", "a=b; keystone_id=" + id, "same-site"}
	with := func(change func(*request)) request {
		q := good
		change(&q)
		return q
	}
	send := func(r *rig, q request) *http.Cookie {
		t.Helper()
		headers := []string{"Host", q.host}
		for name, value := range map[string]string{"Origin": q.origin, "Cookie": q.cookie, "Sec-Fetch-Site": q.site} {
			if value != "" {
				headers = append(headers, name, value)
			}
		}
		a := r.do("POST", "/v1/js/cookie?domain="+q.domain, nil, headers...)
		if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != q.origin || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%+v: %d %v", q, a.status, a.header)
		}
		set := a.header.Values("Set-Cookie")
		if renewed := a.json(t)["renewed"]; renewed != (len(set) > 0) {
			t.Errorf("%+v: %s, %q", q, a.body, set)
		}
		if len(set) == 0 {
			return nil
		}
		c, err := http.ParseSetCookie(set[0])
		if err != nil || len(set) > 1 {
			t.Fatalf("%q: %v", set, err)
		}
		return c
	}

	const long = 400 * 86400
	for name, c := range map[string]struct {
		request
		domain string
		secure bool
	}{
		"a site's edge":           {good, "shop.example", true},
		"a dot before the domain": {with(func(q *request) { q.domain = ".Shop.example" }), "shop.example", true},
		"no word of the browser":  {with(func(q *request) { q.site = "" }), "shop.example", true},
		"http":                    {with(func(q *request) { q.site, q.origin, q.host = "", "http://www.shop.example:81", "cdp.shop.example:82" }), "shop.example", false},
		"the page's own host": {with(func(q *request) {
			q.domain, q.host, q.site = "", "www.shop.example", "same-origin"
		}), "", true},
	} {
		got := send(on, c.request)
		if got == nil || got.Name != "keystone_id" || got.Value != id || got.Domain != c.domain || got.Secure != c.secure ||
			got.MaxAge != long || got.Path != "/" || got.SameSite != http.SameSiteLaxMode || got.HttpOnly {
			t.Errorf("%s: %v", name, got)
		}
	}

	for name, q := range map[string]request{
		"no cookie, or no credentials":    with(func(q *request) { q.cookie = "" }),
		"a cross-site request":            with(func(q *request) { q.site = "cross-site" }),
		"a page of another site":          with(func(q *request) { q.origin, q.site = "https://evil.example", "" }),
		"a name that only ends alike":     with(func(q *request) { q.origin, q.site = "https://evilshop.example", "" }),
		"an edge of another site":         with(func(q *request) { q.host = "cdp.example" }),
		"a domain of another site":        with(func(q *request) { q.domain = "evil.example" }),
		"a domain below the edge":         with(func(q *request) { q.domain = "www.shop.example" }),
		"a top-level domain":              with(func(q *request) { q.domain = "example" }),
		"a domain that is more than that": with(func(q *request) { q.domain = "shop.example%3B%20HttpOnly" }),
		"a domain with a line's end":      with(func(q *request) { q.domain = "shop.example%0D%0ASet-Cookie:%20a=b" }),
		"another host without a domain":   with(func(q *request) { q.domain = "" }),
		"no origin":                       with(func(q *request) { q.origin = "" }),
		"the null origin":                 with(func(q *request) { q.origin = "null" }),
		"an id that needs escaping":       with(func(q *request) { q.cookie = "keystone_id=a%3Bb" }),
		"a long id":                       with(func(q *request) { q.cookie = "keystone_id=" + strings.Repeat("x", 129) }),
		"an empty cookie":                 with(func(q *request) { q.cookie = "keystone_id=" }),
	} {
		if got := send(on, q); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	off := newRig(t, options{}).do("POST", "/v1/js/cookie", nil, "Origin", good.origin, "Cookie", good.cookie)
	if off.status != 404 || off.header.Get("Set-Cookie") != "" {
		t.Errorf("off by default: %d %v", off.status, off.header)
	}
	// Behind a proxy that names itself in Host, browsers reach the edge by another name.
	public := newRig(t, options{edge: func(c *Config) { c.RenewCookie, c.PublicURL = true, "https://cdp.shop.example" }})
	if got := send(public, with(func(q *request) { q.host = "edge.internal" })); got == nil || got.Domain != "shop.example" {
		t.Errorf("a public URL: %v", got)
	}
}
