package edge

import (
	"bytes"
	"net/url"
	"strconv"

	"github.com/valyala/fasthttp"
)

// The tracker's cookie (ingest/tracker/src/visitor.js), and its age: no browser keeps one for longer.
const (
	visitorCookie    = "keystone_id"
	visitorCookieAge = 400 * 24 * 60 * 60 // seconds
)

// renewCookie sets the visitor's cookie again, as the browser sent it: POST /v1/js/cookie?domain=, where
// domain is the one the tracker wrote the cookie for, and is absent for a cookie of this very host.
// Browsers that keep what a script wrote for a week only keep what a server has set for as long as it
// says.
//
// It is done for pages of the edge's own site alone. Nobody is given an id here: what is set is what the
// browser has already, so no key is asked for. It is not HttpOnly, because the tracker must read it
// and reset() must remove it; the id is in the page's localStorage anyway, and opens nothing. It is no
// part of an event's answer, because a page cannot take such an answer back: one that comes after
// reset() would bring the old visitor back.
func (r *request) renewCookie(ctx *fasthttp.RequestCtx) *failure {
	if !r.s.cfg.RenewCookie {
		return fail(codeNotFound, "this edge sets no cookies")
	}
	r.out = append(r.out[:0], `{"renewed":`...)
	cookie := r.visitor(ctx)
	if cookie != nil {
		ctx.Response.Header.AddBytesV(fasthttp.HeaderSetCookie, cookie)
	}
	r.out = append(strconv.AppendBool(r.out, cookie != nil), '}', '\n')
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}

// visitor is the cookie to set, or nothing.
func (r *request) visitor(ctx *fasthttp.RequestCtx) []byte {
	h := &ctx.Request.Header
	id := h.Cookie(visitorCookie)
	if !cookieValue(id) {
		return nil
	}
	switch string(h.Peek("Sec-Fetch-Site")) {
	case "", "same-origin", "same-site": // over http browsers do not say; the names below decide as well
	default:
		return nil
	}
	page, err := url.Parse(string(r.origin))
	if err != nil || page.Hostname() == "" {
		return nil
	}
	base, err := r.s.publicURL(ctx)
	if err != nil {
		return nil
	}
	from, to := bytes.ToLower([]byte(page.Hostname())), bytes.ToLower([]byte(base.Hostname()))
	domain := bytes.ToLower(bytes.TrimPrefix(ctx.QueryArgs().Peek("domain"), []byte(".")))
	switch {
	case len(domain) == 0 && !bytes.Equal(from, to):
		return nil // the cookie is another host's
	case len(domain) > 0 && (!hostName(domain) || !under(from, domain) || !under(to, domain)):
		return nil
	}
	out := append([]byte(visitorCookie+"="), id...)
	out = strconv.AppendInt(append(out, "; Path=/; SameSite=Lax; Max-Age="...), visitorCookieAge, 10)
	if page.Scheme == "https" {
		out = append(out, "; Secure"...)
	}
	if len(domain) > 0 {
		out = append(append(out, "; Domain="...), domain...)
	}
	return out
}

// cookieValue tells an id that needs no escaping; those the tracker makes do not.
func cookieValue(id []byte) bool { return len(id) > 0 && len(id) <= 128 && plainWord(id, "-_.~") }

// hostName tells a name of at least two labels. What is a public suffix the browser knows.
func hostName(name []byte) bool {
	return len(name) <= 253 && bytes.IndexByte(name, '.') > 0 && plainWord(name, "-.")
}

// plainWord tells ASCII letters, digits and the given marks.
func plainWord(text []byte, marks string) bool {
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte(marks), c) >= 0:
		default:
			return false
		}
	}
	return true
}

// under tells whether a host is a domain or one of its subdomains.
func under(host, domain []byte) bool {
	rest, found := bytes.CutSuffix(host, domain)
	return found && (len(rest) == 0 || rest[len(rest)-1] == '.')
}
