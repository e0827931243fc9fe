package edge

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Codes of errors beside those of package event (spec 1.3).
const (
	codeBadRequest       = "bad_request"
	codeMissingKey       = "missing_key"
	codeUnknownKey       = "unknown_key"
	codeWrongScope       = "wrong_scope"
	codeOrigin           = "origin_not_allowed"
	codeNotFound         = "not_found"
	codeMethodNotAllowed = "method_not_allowed"
	codeTimeout          = "request_timeout"
	codeUnsupported      = "unsupported_media_type"
	codeRateLimited      = "rate_limited"
	codeHeadersTooLarge  = "headers_too_large"
	codeUnavailable      = "unavailable"
	codeBlocked          = "blocked" // of an event in a batch; no request is refused with it
)

// statusOf is the HTTP status of a code.
func statusOf(code string) int {
	switch code {
	case codeMissingKey, codeUnknownKey:
		return fasthttp.StatusUnauthorized
	case codeWrongScope, codeOrigin:
		return fasthttp.StatusForbidden
	case codeNotFound:
		return fasthttp.StatusNotFound
	case codeMethodNotAllowed:
		return fasthttp.StatusMethodNotAllowed
	case codeTimeout:
		return fasthttp.StatusRequestTimeout
	case event.CodeTooLarge:
		return fasthttp.StatusRequestEntityTooLarge
	case codeUnsupported:
		return fasthttp.StatusUnsupportedMediaType
	case codeRateLimited:
		return fasthttp.StatusTooManyRequests
	case codeHeadersTooLarge:
		return fasthttp.StatusRequestHeaderFieldsTooLarge
	case codeUnavailable:
		return fasthttp.StatusServiceUnavailable
	}
	return fasthttp.StatusBadRequest
}

// failure is why a request is refused. Its message is written by us and quotes nothing of the
// request.
type failure struct {
	event.Error
	retry time.Duration // Retry-After; 0: the default where the status wants one
	close bool          // the connection cannot go on
}

func fail(code, message string) *failure {
	return &failure{Error: event.Error{Code: code, Message: message}}
}

func unavailable(message string) *failure { return fail(codeUnavailable, message) }

func invalid(err *event.Error) *failure { return &failure{Error: *err} }

// refuse writes the answer of a request that failed.
func (r *request) refuse(ctx *fasthttp.RequestCtx, f *failure) {
	status := statusOf(f.Code)
	out := append(r.out[:0], `{"error":{"code":`...)
	out = payload.AppendQuoted(out, f.Code)
	out = append(out, `,"message":`...)
	out = payload.AppendQuoted(out, f.Message)
	if f.Field != "" {
		out = append(out, `,"field":`...)
		out = payload.AppendQuoted(out, f.Field)
	}
	r.out = append(out, '}', '}', '\n')
	if retry := f.retry; status == fasthttp.StatusTooManyRequests || status == fasthttp.StatusServiceUnavailable {
		if retry == 0 {
			retry = r.s.cfg.RetryAfter
		}
		seconds := int64((retry + time.Second - 1) / time.Second)
		ctx.Response.Header.SetCanonical([]byte(fasthttp.HeaderRetryAfter), strconv.AppendInt(nil, seconds, 10))
	}
	if f.close || status == fasthttp.StatusRequestTimeout {
		ctx.SetConnectionClose()
	}
	if f.Code == codeOrigin {
		ctx.Response.Header.SetCanonical(headerVary, headerOrigin) // another origin may be answered otherwise
	} else {
		r.allowOrigin(ctx)
	}
	r.answer(ctx, status)
}

var (
	headerRequestID = []byte("X-Request-Id")
	typeJSON        = []byte("application/json")
)

// maxCopied is the largest answer that is copied into the connection's own buffer.
const maxCopied = 64 << 10

// answer sends r.out, a JSON object.
func (r *request) answer(ctx *fasthttp.RequestCtx, status int) {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(typeJSON)
	if len(r.out) > maxCopied {
		ctx.Response.SetBodyRaw(r.out)
		r.out = nil
	} else {
		ctx.Response.SetBody(r.out)
	}
	r.done(ctx, status)
}

// done ends every answer: the request's id and the count.
func (r *request) done(ctx *fasthttp.RequestCtx, status int) {
	ctx.Response.Header.SetCanonical(headerRequestID, r.requestID)
	r.s.metrics.request(r.route.endpoint, status)
	r.endTrace(status)
}
