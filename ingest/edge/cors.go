package edge

import (
	"github.com/valyala/fasthttp"
)

var (
	headerOrigin         = []byte(fasthttp.HeaderOrigin)
	headerVary           = []byte(fasthttp.HeaderVary)
	headerAllowOrigin    = []byte(fasthttp.HeaderAccessControlAllowOrigin)
	headerAllowCreds     = []byte(fasthttp.HeaderAccessControlAllowCredentials)
	headerExpose         = []byte(fasthttp.HeaderAccessControlExposeHeaders)
	headerRequestHeaders = []byte(fasthttp.HeaderAccessControlRequestHeaders)
	exposed              = []byte("Retry-After, X-Request-Id")
	yes                  = []byte("true")
)

// maxRequested bounds the list of header names a preflight may ask for.
const maxRequested = 4 << 10

// allowOrigin lets the page that sent the request read the answer. The origin is echoed, never "*",
// because a page may send with credentials; no cookie opens anything here, so that gives nothing
// away. The answer depends on the origin, so caches are told.
func (r *request) allowOrigin(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.SetCanonical(headerVary, headerOrigin)
	if len(r.origin) == 0 || !plainToken(r.origin, 512) {
		return
	}
	h.SetCanonical(headerAllowOrigin, r.origin)
	h.SetCanonical(headerAllowCreds, yes)
	h.SetCanonical(headerExpose, exposed)
}

// preflight answers OPTIONS. The headers asked for are echoed: SDKs add some on a retry, so a fixed
// list would fail when something has already gone wrong. Which key will be used is not known yet, so
// its list of origins counts with the request itself.
func (r *request) preflight(ctx *fasthttp.RequestCtx) {
	r.allowOrigin(ctx)
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderAllow, r.route.methods)
	h.Set(fasthttp.HeaderVary, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set(fasthttp.HeaderAccessControlAllowMethods, r.route.methods)
	h.Set(fasthttp.HeaderAccessControlMaxAge, "86400")
	if asked := ctx.Request.Header.PeekBytes(headerRequestHeaders); len(asked) > 0 && plainToken(asked, maxRequested) {
		h.SetBytesV(fasthttp.HeaderAccessControlAllowHeaders, asked)
	}
	r.out = append(r.out[:0], "{}\n"...)
	r.answer(ctx, fasthttp.StatusOK)
}

// plainToken tells printable ASCII text that may be echoed in a header.
func plainToken(text []byte, limit int) bool {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(text) <= limit
}
