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
)

// jobStatus tells how far a batch has come: GET /tenant/ingest/batch/{job_id}. Another tenant's job
// is as unknown as one that never was.
func (r *request) jobStatus(ctx *fasthttp.RequestCtx) *failure {
	if f := r.authorize(key.FromHeader(&ctx.Request.Header, &r.desk.secret)); f != nil {
		return f
	}
	if f := r.requireScope(key.Integration); f != nil {
		return f
	}
	unknown := fail(codeNotFound, "there is no such job")
	id, err := uuid.ParseBytes(r.route.param)
	if err != nil {
		return unknown
	}
	st, err := r.s.deps.Jobs.Status(ctx, r.grant.Tenant, id)
	switch {
	case errors.Is(err, job.ErrUnknownJob):
		return unknown
	case err != nil:
		return unavailable("the progress of jobs cannot be read now")
	}
	out := append(r.out[:0], `{"job_id":"`...)
	out = append(out, id.String()...)
	out = append(out, `","status":`...)
	out = payload.AppendQuoted(out, st.State)
	for _, n := range [...]struct {
		name string
		is   int64
	}{{"accepted", st.Accepted}, {"rejected", st.Rejected}, {"processed", st.Processed}, {"failed", st.Failed}} {
		out = append(out, `,"`...)
		out = append(out, n.name...)
		out = append(out, `":`...)
		out = strconv.AppendInt(out, n.is, 10)
	}
	if !st.CreatedAt.IsZero() {
		out = append(out, `,"created_at":"`...)
		out = st.CreatedAt.UTC().AppendFormat(out, time.RFC3339Nano)
		out = append(out, '"')
	}
	r.out = append(out, '}', '\n')
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}
