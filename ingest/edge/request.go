package edge

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/ingest/segment"
	"github.com/keystone-cdp/keystone/internal/event"
)

// request owns every scratch buffer that serving one request takes. It comes from a pool and goes
// back to it; what the log's client may still read after that is left behind (retained).
type request struct {
	s         *Server
	stripe    *stripe // of the server's inFlight
	route     route
	requestID []byte // a slice of the request, or of ownID
	ownID     [48]byte
	origin    []byte
	grant     *key.Grant
	barred    key.List // the blocklist that names the request's sender
	body      payload.Buffer
	batch     payload.Batch
	desk      *desk // nil: given back
	builder   builder
	record    kgo.Record
	records   [1]*kgo.Record
	out       []byte
	retained  bool
	trace     tracing
	turns     turns
	arrived   func(n int) // turns.arrived, and so on: made once
	inflated  func(n int)
}

// desk is what judging events takes, and what nobody needs once they are judged. A request for one
// event leaves it before it waits for the log: so a few desks serve all that wait, and stay in the
// processor's cache.
type desk struct {
	judge   judge
	message segment.Message
	secret  key.Scratch
}

// leaveDesk gives the desk to another request. What was judged must be in the record by then.
func (r *request) leaveDesk() {
	d := r.desk
	if d == nil {
		return
	}
	if d.judge.large {
		d.judge = judge{}
	}
	d.message = segment.Message{}
	r.s.desks.Put(d)
	r.desk = nil
}

// What a request keeps for the next one.
const (
	keepArena   = 64 << 10 // bytes
	keepHeaders = 64
	keepItems   = 4 << 10
	keepDecoder = 64 << 10 // bytes of the largest event it has decoded
)

// release gives r back, unless the log's client still holds some of its memory: then all of it is
// left to the garbage collector.
func (r *request) release() {
	s := r.s
	s.bodies.Release(&r.body, r.retained)
	if r.retained {
		return
	}
	r.record = kgo.Record{}
	r.builder.reset(keepArena, keepHeaders)
	if r.batch.Reset(0); cap(r.batch.Items) > keepItems {
		r.batch = payload.Batch{Worked: r.batch.Worked}
	}
	r.leaveDesk()
	if cap(r.out) > maxCopied {
		r.out = nil
	}
	r.route, r.requestID, r.origin, r.grant, r.barred = route{}, nil, nil, nil, key.NotBlocked
	r.trace, r.turns = tracing{}, turns{s: s}
	s.requests.Put(r)
}

// begin takes from the headers what every answer needs.
func (r *request) begin(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	if id := h.PeekBytes(headerRequestID); saneID(id) {
		r.requestID = id
	} else {
		r.requestID = r.s.ids.append(r.ownID[:0])
	}
	r.origin = h.PeekBytes(headerOrigin)
}

// saneID tells a request id that may go into logs and headers.
func saneID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':', c == '/', c == '=', c == '+':
		default:
			return false
		}
	}
	return true
}

// serve finds the handler and answers.
func (r *request) serve(ctx *fasthttp.RequestCtx) {
	r.begin(ctx)
	var found bool
	if r.route, found = findRoute(ctx.Path()); !found {
		r.refuse(ctx, fail(codeNotFound, "there is nothing at this path: send an event to /ingest, many to /tenant/ingest/batch, an SDK's to /v1/batch"))
		return
	}
	switch h := &ctx.Request.Header; {
	case h.IsOptions():
		r.preflight(ctx)
		return
	case r.route.methods == methodsPost && !h.IsPost(), r.route.methods == methodsGet && !h.IsGet() && !h.IsHead():
		ctx.Response.Header.Set(fasthttp.HeaderAllow, r.route.methods)
		r.refuse(ctx, fail(codeMethodNotAllowed, "this path takes "+r.route.methods))
		return
	}
	r.sample(ctx)
	var f *failure
	switch r.route.endpoint {
	case endpointIngest:
		f = r.ingest(ctx)
	case endpointBatch:
		f = r.ingestBatch(ctx)
	case endpointJob:
		f = r.jobStatus(ctx)
	case endpointSegment, endpointJitsu:
		f = r.dialect(ctx)
	case endpointSettings:
		f = r.settings(ctx)
	case endpointCookie:
		f = r.renewCookie(ctx)
	case endpointTracker:
		file := r.s.script
		if r.route.types {
			file = r.s.types
		}
		file.Serve(ctx)
		r.done(ctx, ctx.Response.StatusCode())
		return
	}
	if f != nil {
		r.refuse(ctx, f)
	}
}

// authorize looks a key up and charges the request to it. Without a key it looks up the empty one:
// the same way, the same time.
func (r *request) authorize(text []byte) *failure {
	grant, err := r.s.deps.Keys.Lookup(text)
	switch {
	case len(text) == 0:
		return fail(codeMissingKey, "give an API key in X-API-Key or Authorization")
	case errors.Is(err, key.ErrUnknownKey):
		return fail(codeUnknownKey, "the API key is not known or has been revoked")
	case err != nil:
		return unavailable("the API key cannot be checked now")
	case grant.Scope == key.Tracker && !grant.AllowsOrigin(r.origin):
		return fail(codeOrigin, "the API key may not be used from this origin")
	case r.route.endpoint == endpointSettings: // no event: an SDK that is refused them never starts
		r.grant = grant
		return nil
	}
	if wait := grant.Take(time.Now().UnixNano()); wait > 0 {
		return &failure{Error: event.Error{Code: codeRateLimited, Message: "the API key's rate limit is reached"}, retry: wait}
	}
	r.grant = grant
	r.startTrace()
	return nil
}

// requireScope refuses keys of another scope.
func (r *request) requireScope(scope key.Scope) *failure {
	if r.grant.Scope != scope {
		return fail(codeWrongScope, "this needs an API key of scope "+scope.String())
	}
	return nil
}

// read reads the body, at most limit bytes of it.
func (r *request) read(ctx *fasthttp.RequestCtx, limit int, sniff bool) *failure {
	h := &ctx.Request.Header
	src := payload.Source{
		Body: ctx.RequestBodyStream(), Length: h.ContentLength(),
		Encoding: h.Peek(fasthttp.HeaderContentEncoding), Limit: limit, Sniff: sniff, Arrived: r.arrived, Inflated: r.inflated,
	}
	if src.Body == nil {
		src.Body, src.Length = noBody{}, 0
	}
	if src.Length < 0 && announcesLength(h.RawHeaders()) {
		// Two answers to where the body ends: what follows may be another's request, smuggled.
		return &failure{Error: event.Error{Code: codeBadRequest, Message: "give Content-Length or Transfer-Encoding, not both"}, close: true}
	}
	err := r.s.bodies.Read(&r.body, src)
	switch {
	case err == nil:
		return nil
	case timedOut(ctx.Conn()):
		return fail(codeTimeout, "the body did not arrive in time")
	case errors.Is(err, payload.ErrTooLarge):
		discard(src.Body)
		return fail(event.CodeTooLarge, "the body is too large: the limit is "+strconv.Itoa(limit)+" bytes")
	case errors.Is(err, payload.ErrEncoding):
		return fail(codeUnsupported, err.Error())
	case errors.Is(err, payload.ErrCorrupt):
		return fail(event.CodeInvalidJSON, err.Error())
	case errors.Is(err, payload.ErrBusy):
		return unavailable(err.Error())
	}
	return &failure{Error: event.Error{Code: codeBadRequest, Message: "the body is not all there"}, close: true}
}

func announcesLength(headers []byte) bool {
	for line := range bytes.SplitSeq(headers, []byte("\n")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(bytes.TrimSpace(name), []byte(fasthttp.HeaderContentLength)) {
			return true
		}
	}
	return false
}

type noBody struct{}

func (noBody) Read([]byte) (int, error) { return 0, io.EOF }

// maxDiscarded bounds what is read of a body that is too large, so that the client is there to read
// the answer: one that is still sending takes a closed connection for a failure and sends it again.
const maxDiscarded = 128 << 20

func discard(body io.Reader) { _, _ = io.CopyN(io.Discard, body, maxDiscarded) }

// browser notes what a tracker key's request says about its sender: as much as the tenant wants.
func (r *request) browser(ctx *fasthttp.RequestCtx) {
	r.builder.meta.IP, r.builder.userAgent, r.barred = "", nil, key.NotBlocked
	if r.grant.Scope != key.Tracker {
		return
	}
	addr, ua := r.s.clientAddress(ctx), ctx.Request.Header.UserAgent()
	if b := r.grant.Blocked; b != nil {
		switch {
		case b.Address(addr):
			r.barred = key.ByIP
		case b.Agent(ua):
			r.barred = key.ByUserAgent
		}
	}
	if addr = r.grant.Addresses.Hide(addr); addr.IsValid() {
		r.builder.ip = addr.AppendTo(r.builder.ip[:0])
		r.builder.meta.IP = view(r.builder.ip)
	}
	if len(ua) <= maxUserAgent {
		r.builder.userAgent = ua
	}
}
