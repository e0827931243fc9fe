package trace

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config of one role's tracing. What else the exporter can be told (headers, certificates,
// compression, a timeout) it reads from the variables OTEL_EXPORTER_OTLP_… by itself, and the resource
// from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
type Config struct {
	Role     string // edge, processor, sink
	Version  string // of the build
	Instance string // names this process to people who look
	// Endpoint is the collector's, for OTLP over HTTP: http://host:4318, or with a path of its own.
	// Empty: as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT say.
	Endpoint string
	Sample   float64 // of the requests that begin a trace, between 0 and 1; the edge's
	Continue int     // traces a second that were begun by callers, and go on here; 0: none; the edge's

	QueueSpans  int           // ended and not sent yet; more are dropped
	BatchSpans  int           // sent together
	SendEvery   time.Duration // the longest that a span waits for others
	SendTimeout time.Duration // of one batch with its repetitions; then it is dropped
}

// DefaultConfig lacks the role and the endpoint.
func DefaultConfig() Config {
	return Config{Sample: 0.001, QueueSpans: 4096, BatchSpans: 512, SendEvery: time.Second, SendTimeout: 10 * time.Second}
}

// Validate lists every broken rule at once. It quotes nothing of the endpoint: there may be a secret
// in it.
func (c Config) Validate() error {
	var errs []error
	rule := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("trace: "+format, args...))
		}
	}
	rule(c.Role != "", "role is missing")
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
		rule(ok, "endpoint must be like http://collector:4318")
		rule(!ok || u.User == nil, "endpoint must not hold credentials: give them as OTEL_EXPORTER_OTLP_HEADERS")
	}
	rule(c.Sample >= 0 && c.Sample <= 1, "sample must be between 0 and 1, not %g", c.Sample)
	rule(c.Continue >= 0, "continue must not be negative")
	rule(c.BatchSpans >= 1 && c.QueueSpans >= c.BatchSpans, "batch_spans must be at least 1, queue_spans at least batch_spans")
	rule(c.SendEvery > 0 && c.SendTimeout > 0, "send_every and send_timeout must be positive")
	return errors.Join(errs...)
}

// tracesPath is where OTLP wants traces (its specification).
const tracesPath = "/v1/traces"

// url is the endpoint with its path.
func (c Config) url() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return c.Endpoint // Validate has refused it
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = tracesPath
	}
	return u.String()
}
