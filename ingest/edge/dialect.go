package edge

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/ingest/segment"
	"github.com/keystone-cdp/keystone/internal/event"
)

// dialect takes messages of the Segment, RudderStack and Jitsu SDKs, one or a batch, into the live
// lane. Content-Type is not looked at.
//
// A batch is accepted if one of its messages is: SDKs throw all of it away on a 400, and on a 413 as
// well, so a bad or oversized message must not take its neighbours along. It is dropped and counted.
// Only where no message is good is the batch refused. If good ones could not be made durable the
// answer is 503: the SDK sends all of it again, under the same message ids, and each counts once.
func (r *request) dialect(ctx *fasthttp.RequestCtx) *failure {
	text := key.FromHeader(&ctx.Request.Header, &r.desk.secret)
	if text == nil {
		text = key.FromWriteKey(ctx.QueryArgs().Peek("writeKey"))
	}
	if text != nil { // the rest waits for the body: the key may stand in there
		if f := r.authorize(text); f != nil {
			return f
		}
	}
	limit := r.s.cfg.Limits.EventBytes + slack
	if r.route.list {
		limit = r.s.cfg.BatchBytes
	}
	if f := r.read(ctx, limit, true); f != nil {
		return f
	}
	b := bulk{r: r, lane: r.s.deps.Live, foreign: true, around: segment.Around{Type: r.route.typ}}
	items, f := r.messages(&b)
	if r.grant == nil {
		if f := r.authorize(r.bodyKey(items)); f != nil {
			return f
		}
	}
	if f != nil {
		return f
	}
	r.grant.Charge(len(items)-1, time.Now().UnixNano())
	b.around.Secret = r.grant.Scope == key.Integration
	r.builder.begin(r)
	r.browser(ctx)
	b.run(items)
	switch {
	case b.lost > 0:
		return unavailable("not all messages could be stored; send them again")
	case b.accepted+b.blocked == 0:
		return invalid(&b.rejected[0].Error)
	}
	r.out = append(r.out[:0], "{\"success\":true}\n"...)
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}

// messages are the items of the body. Whatever fails, the key in the body counts first.
func (r *request) messages(b *bulk) ([][]byte, *failure) {
	r.batch.Reset(r.s.cfg.BatchEvents)
	if !r.route.list {
		r.batch.Items = append(r.batch.Items, payload.Trim(r.body.B))
		return r.batch.Items, nil
	}
	err := r.batch.Document(r.body.B, "batch")
	if err == nil && len(r.batch.Items) == 0 {
		err = &event.Error{Code: event.CodeInvalidEvent, Field: "batch", Message: "the batch has no messages"}
	}
	b.around.SentAt, b.around.Context = r.batch.Other("sentAt"), r.batch.Other("context")
	return r.batch.Items, cutFailure(err)
}

// bodyKey is the writeKey of a batch, or else of the first message.
func (r *request) bodyKey(items [][]byte) []byte {
	if k := segment.Text(r.batch.Other("writeKey")); len(k) > 0 {
		return key.FromWriteKey(k)
	}
	if len(items) == 0 || r.desk.message.Parse(items[0], r.s.cfg.Limits) != nil {
		return nil
	}
	return key.FromWriteKey(r.desk.message.WriteKey())
}
