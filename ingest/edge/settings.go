package edge

import (
	"bytes"
	"errors"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/internal/event"
)

// settings answers what the browser SDKs fetch before they start: the smallest configuration that
// points them here. Segment's names its key in the path, RudderStack's in the query or headers.
func (r *request) settings(ctx *fasthttp.RequestCtx) *failure {
	segment := r.route.param != nil
	text := r.route.param
	if !segment {
		if text = key.FromHeader(&ctx.Request.Header, &r.desk.secret); text == nil {
			text = key.FromWriteKey(ctx.QueryArgs().Peek("writeKey"))
		}
	}
	if f := r.authorize(text); f != nil {
		return f
	}
	if segment && r.grant.Scope != key.Tracker {
		return fail(codeWrongScope, "a secret API key must not stand in a path")
	}
	base, err := r.s.publicURL(ctx)
	if err != nil {
		return invalid(&event.Error{Code: codeBadRequest, Message: err.Error()})
	}
	if segment {
		r.segmentSettings(base, text)
	} else {
		r.rudderSettings(base, text)
	}
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store") // it depends on Host and key
	r.allowOrigin(ctx)
	r.answer(ctx, fasthttp.StatusOK)
	return nil
}

// publicURL is where the asking browser reaches this server. It is told only what it said itself, so
// the headers need no trust.
func (s *Server) publicURL(ctx *fasthttp.RequestCtx) (*url.URL, error) {
	if s.cfg.PublicURL != "" {
		return url.Parse(s.cfg.PublicURL) // Validate has seen it
	}
	scheme := "http"
	if proto := ctx.Request.Header.Peek("X-Forwarded-Proto"); ctx.IsTLS() || bytes.EqualFold(proto, []byte("https")) {
		scheme = "https"
	}
	host := string(ctx.Request.Header.Host())
	if host == "" || len(host) > 255 || strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" {
		return nil, errors.New("the Host header is no host name")
	}
	return &url.URL{Scheme: scheme, Host: host}, nil
}

func (r *request) segmentSettings(base *url.URL, writeKey []byte) {
	out := append(r.out[:0], `{"integrations":{"Segment.io":{"apiKey":`...)
	out = payload.AppendQuoted(out, writeKey)
	out = append(out, `,"apiHost":`...)
	out = payload.AppendQuoted(out, base.Host+strings.TrimSuffix(base.Path, "/")+"/v1")
	out = append(out, `,"protocol":`...)
	out = payload.AppendQuoted(out, base.Scheme)
	// Without sampled metrics of its own the SDK talks to nobody but us.
	r.out = append(out, `,"unbundledIntegrations":[],"addBundledMetadata":true}},"plan":{"track":{"__default":{"enabled":true}},"identify":{"__default":{"enabled":true}},"group":{"__default":{"enabled":true}}},"edgeFunction":{},"analyticsNextEnabled":true,"middlewareSettings":{},"enabledMiddleware":{},"metrics":{"sampleRate":0},"legacyVideoPluginsEnabled":false,"remotePlugins":[]}`+"\n"...)
}

func (r *request) rudderSettings(base *url.URL, writeKey []byte) {
	id := r.grant.KeyID
	out := append(r.out[:0], `{"source":{"id":`...)
	out = payload.AppendQuoted(out, id)
	out = append(out, `,"name":"keystone","writeKey":`...)
	out = payload.AppendQuoted(out, writeKey)
	out = append(out, `,"enabled":true,"workspaceId":`...)
	out = payload.AppendQuoted(out, r.grant.Tenant.String())
	out = append(out, `,"config":{"statsCollection":{"errors":{"enabled":false},"metrics":{"enabled":false}}},"destinations":[],"connections":[],"sourceDefinition":{"name":"Javascript"},"dataplanes":{"US":[{"url":`...)
	out = payload.AppendQuoted(out, strings.TrimSuffix(base.String(), "/"))
	r.out = append(out, `,"default":true}]}}}`+"\n"...)
}
