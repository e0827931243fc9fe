package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"

	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor"
)

// tracerStopTimeout is for the last spans: longer than a collector that is there needs.
const tracerStopTimeout = 3 * time.Second

// traceFlags are every role's.
type traceFlags struct {
	TraceEndpoint string `help:"Collector of OpenTelemetry traces, OTLP over HTTP; also OTEL_EXPORTER_OTLP_ENDPOINT. Without one there are no traces." env:"KEYSTONE_TRACE_ENDPOINT" placeholder:"http://HOST:4318"`
}

// samplingFlags are the edge's, where traces begin.
type samplingFlags struct {
	TraceSample   float64 `help:"Share of the requests that are traced, where there are traces." default:"0.001" env:"KEYSTONE_TRACE_SAMPLE" placeholder:"0..1"`
	TraceContinue int     `help:"Traces a second that callers with integration keys have begun (traceparent) and that go on here." env:"KEYSTONE_TRACE_CONTINUE" placeholder:"N"`
}

// config answers a role's configuration of traces, and whether there are any.
func (f traceFlags) config(role string, s samplingFlags) (c trace.Config, on bool, err error) {
	c = trace.DefaultConfig()
	c.Role, c.Sample, c.Continue = role, s.TraceSample, s.TraceContinue
	c.Version, _ = build()
	c.Instance = processor.DefaultConfig().Instance
	if c.Endpoint = f.TraceEndpoint; c.Endpoint == "" {
		c.Endpoint = standardEndpoint()
	}
	if err := c.Validate(); err != nil {
		if f.TraceEndpoint == "" && c.Endpoint != "" {
			err = fmt.Errorf("%w (the endpoint is OTEL_EXPORTER_OTLP_ENDPOINT's; OTEL_TRACES_EXPORTER=none leaves it alone)", err)
		}
		c.Endpoint = "" // not to be printed: there may be a token in it
		return c, false, err
	}
	if c.Endpoint == "" {
		return c, false, nil
	}
	return c, true, checkHeaders()
}

// standardEndpoint is what OpenTelemetry's own variables say.
func standardEndpoint() string {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return ""
	}
	if whole := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); whole != "" {
		return whole
	}
	base := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	if u, err := url.Parse(base); base != "" && err == nil {
		return u.JoinPath("v1/traces").String()
	}
	return base
}

// checkHeaders looks at what the exporter reads by itself: it would print what it cannot read.
func checkHeaders() error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		for i, pair := range strings.Split(text, ",") {
			key, value, found := strings.Cut(pair, "=")
			if _, err := url.PathUnescape(value); !found || err != nil || strings.TrimSpace(key) == "" {
				return fmt.Errorf("%s: the %d. pair is not like name=value, with %%xx for odd characters", name, i+1)
			}
		}
	}
	return nil
}

// startTracer answers the tracer of a role: nil, and nothing is done, where there are no traces.
func (r *roles) startTracer(ctx context.Context, role string, s samplingFlags) (*trace.Tracer, error) {
	config, on, err := r.flags.config(role, s)
	if err != nil || !on {
		return nil, err
	}
	if r.traces == nil {
		r.traces = trace.NewMetrics(r.registry)
		otel.SetLogger(logr.Discard()) // its words quote settings; ours have been checked
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { r.app.log.Debug("opentelemetry", "error", err) }))
	}
	t, err := trace.New(config, r.app.log, r.traces)
	if err != nil {
		return nil, err
	}
	return t, r.group.Start(ctx, "traces of the "+role, t, tracerStopTimeout)
}
