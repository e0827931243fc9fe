package edge

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/internal/event"
)

// slack is how much longer than an event its body may be: white space around it.
const slack = 4 << 10

// ingest takes one event: POST /ingest.
func (r *request) ingest(ctx *fasthttp.RequestCtx) *failure {
	h := &ctx.Request.Header
	text := key.FromHeader(h, &r.desk.secret)
	inQuery := text == nil
	if inQuery { // a beacon cannot set headers
		text = ctx.QueryArgs().Peek("key")
	}
	if f := r.authorize(text); f != nil {
		return f
	}
	if inQuery && r.grant.Scope != key.Tracker {
		return fail(codeWrongScope, "a secret API key must not stand in the query")
	}
	switch media := payload.MediaOf(h.ContentType()); {
	case media == payload.JSON, media == payload.None, media == payload.Text && r.grant.Scope == key.Tracker:
	default:
		return fail(codeUnsupported, "send the event as application/json")
	}
	if f := r.read(ctx, r.s.cfg.Limits.EventBytes+slack, false); f != nil {
		return f
	}
	value := payload.Trim(r.body.B)
	r.received(1)
	r.builder.begin(r)
	r.browser(ctx)
	switch err := r.check(value, false, nil); {
	case err == nil:
	case err.Code == codeBlocked:
		return r.drop(ctx)
	default:
		return r.reject(err)
	}
	r.s.build(&r.record, &r.builder, &r.desk.judge, value, nil)
	r.s.courtesy.came(r.record.Timestamp.UnixMicro())
	out := append(r.out[:0], `{"status":"ok","message_id":`...)
	if id := r.desk.judge.event.MessageID; len(id) > 0 {
		out = payload.AppendQuoted(out, id)
	} else {
		out = payload.AppendQuoted(out, r.builder.meta.MessageID)
	}
	r.out = append(out, '}', '\n')
	r.leaveDesk()
	if f := r.store(); f != nil {
		return f
	}
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}

// check judges an event for the request's tenant, counts what named nobody, and leaves of addresses in
// data what the tenant keeps. userAgent, if any, is what the client said in another place than
// context.user_agent.
func (r *request) check(data []byte, foreign bool, userAgent []byte) *event.Error {
	err := r.desk.judge.judge(data, foreign, r.grant, r.s.cfg.Limits)
	if n := r.desk.judge.ids.Dropped; n > 0 {
		r.s.metrics.nobody.Add(float64(n))
	}
	if err != nil {
		return err
	}
	if b := r.grant.Blocked; b != nil {
		if list := r.unwanted(b, userAgent); list != key.NotBlocked {
			r.s.metrics.blocked[list].Inc()
			return errBlocked
		}
	}
	if mode := r.grant.Addresses; mode != key.Full {
		hideAddresses(data, mode, r.s.cfg.Limits.Depth)
	}
	return nil
}

// drop answers an event that its tenant has blocked.
func (r *request) drop(ctx *fasthttp.RequestCtx) *failure {
	r.s.metrics.reject(r.route.endpoint, codeBlocked, 1)
	r.out = append(r.out[:0], "{\"status\":\"blocked\"}\n"...)
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}

func (r *request) received(n int) { r.s.metrics.received[r.route.endpoint].Add(float64(n)) }
func (r *request) accepted(n int) { r.s.metrics.accepted[r.route.endpoint].Add(float64(n)) }

// reject refuses the request's only event.
func (r *request) reject(err *event.Error) *failure {
	r.s.metrics.reject(r.route.endpoint, err.Code, 1)
	return invalid(err)
}

// store makes r.record durable.
func (r *request) store() *failure {
	r.records[0] = &r.record
	lane := r.s.deps.Live
	o := lane.Wait(lane.Submit(r.records[:]))
	r.retained = r.retained || o.Retained
	r.trace.spans.outcome(o)
	r.trace.spans.sent(1)
	switch {
	case len(o.Refused) > 0:
		return r.reject(&event.Error{Code: event.CodeTooLarge, Message: "the event is larger than the log takes"})
	case o.Err != nil:
		r.doubted(o)
		return r.reject(&event.Error{Code: codeUnavailable, Message: "the event could not be stored; try again"})
	}
	r.accepted(1)
	return nil
}

// doubted remembers the ids of events that were refused and may arrive all the same.
func (r *request) doubted(o produce.Outcome) {
	if o.Doubtful {
		r.s.metrics.doubtful.Add(float64(len(o.Failed)))
		r.s.doubt.remember(r.grant.Tenant, o.Failed, time.Now())
	}
}
