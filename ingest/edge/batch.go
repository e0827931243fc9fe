package edge

import (
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/internal/event"
)

// ingestBatch takes many events: POST /tenant/ingest/batch. All that it accepts is durable before it
// answers 202; items that were not taken are listed. A batch of bad items only is answered the same
// way, with nothing accepted; one without items is no batch (400).
func (r *request) ingestBatch(ctx *fasthttp.RequestCtx) *failure {
	if f := r.authorize(key.FromHeader(&ctx.Request.Header, &r.desk.secret)); f != nil {
		return f
	}
	if f := r.requireScope(key.Integration); f != nil {
		return f
	}
	media := payload.MediaOf(ctx.Request.Header.ContentType())
	if media == payload.Text || media == payload.Other {
		return fail(codeUnsupported, "send the batch as application/json or application/x-ndjson")
	}
	r.turns.admit()
	if f := r.read(ctx, r.s.cfg.BatchBytes, false); f != nil {
		return f
	}
	r.turns.begin() // what was before may have been waiting for the client
	if f := r.cut(media); f != nil {
		return f
	}
	r.turns.end()
	r.grant.Charge(len(r.batch.Items)-1, time.Now().UnixNano())

	id := newJobID(r.s.clock.next())
	r.builder.begin(r)
	b := bulk{r: r, lane: r.s.deps.Backfill, jobID: id.String()}
	b.run(r.batch.Items)
	if b.accepted == 0 && b.lost > 0 {
		return unavailable("the batch could not be stored; try again")
	}
	r.s.deps.Jobs.Save(job.Job{
		ID: id, Tenant: r.grant.Tenant, Accepted: int64(b.accepted), Rejected: int64(len(b.rejected)), Chunks: b.places,
	})
	r.writeEnqueued(&b)
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusAccepted)
	return nil
}

func newJobID(micros int64) uuid.UUID {
	var text [36]byte
	return uuid.Must(uuid.ParseBytes(appendMessageID(text[:0], micros)))
}

// cut finds the batch's items. What curl sends as a form by default, or without a type, may be lines
// as well.
func (r *request) cut(media payload.Media) *failure {
	r.batch.Reset(r.s.cfg.BatchEvents)
	body := r.body.B
	lines := media == payload.NDJSON
	if media == payload.Form || media == payload.None {
		lines = payload.LooksLikeLines(body)
	}
	var err error
	if lines {
		err = r.batch.Lines(body)
	} else {
		err = r.batch.Document(body, "events")
	}
	if err == nil && len(r.batch.Items) == 0 {
		err = &event.Error{Code: event.CodeInvalidEvent, Field: "events", Message: "the batch has no events"}
	}
	return cutFailure(err)
}

func cutFailure(err error) *failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, payload.ErrTooMany):
		return fail(event.CodeTooLarge, err.Error())
	}
	return invalid(verdict(err))
}

// verdict is an error of package event, or one made into it.
func verdict(err error) *event.Error {
	var v *event.Error
	if !errors.As(err, &v) {
		v = &event.Error{Code: event.CodeInvalidEvent, Message: err.Error()}
	}
	return v
}

func (r *request) writeEnqueued(b *bulk) {
	out := append(r.out[:0], `{"status":"enqueued","job_id":"`...)
	out = append(out, b.jobID...)
	out = append(out, `","accepted":`...)
	out = strconv.AppendInt(out, int64(b.accepted), 10)
	out = append(out, `,"rejected":[`...)
	for i, x := range b.rejected {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"index":`...)
		out = strconv.AppendInt(out, int64(x.index), 10)
		out = append(out, `,"code":`...)
		out = payload.AppendQuoted(out, x.Code)
		out = append(out, `,"message":`...)
		out = payload.AppendQuoted(out, x.Message)
		if x.Field != "" {
			out = append(out, `,"field":`...)
			out = payload.AppendQuoted(out, x.Field)
		}
		out = append(out, '}')
	}
	r.out = append(out, "]}\n"...)
}
