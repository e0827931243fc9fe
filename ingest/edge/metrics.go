package edge

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
)

// endpoint is the label of a kind of route.
type endpoint uint8

const (
	endpointOther endpoint = iota // no such path, or no HTTP
	endpointIngest
	endpointBatch
	endpointJob
	endpointSegment
	endpointJitsu
	endpointSettings
	endpointTracker
	endpointCookie
	endpoints
)

var endpointNames = [endpoints]string{"other", "ingest", "batch", "job", "segment", "jitsu", "settings", "tracker", "cookie"}

// reasons are why an event is not taken; a request refused before its body was read has no events.
var reasons = [...]string{event.CodeInvalidJSON, event.CodeInvalidEvent, event.CodeTooLarge, codeUnavailable, codeBlocked}

var statuses = [...]int{200, 202, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503}

// metrics are resolved once: nothing looks a label up per event. For each endpoint
// received = accepted + the sum of rejected.
type metrics struct {
	requests     [endpoints][len(statuses)]prometheus.Counter
	received     [endpoints]prometheus.Counter
	accepted     [endpoints]prometheus.Counter
	rejected     [endpoints][len(reasons)]prometheus.Counter
	blocked      [key.Lists]prometheus.Counter
	nobody       prometheus.Counter
	doubtful     prometheus.Counter
	panics       prometheus.Counter
	rested       prometheus.Counter
	refusedConns prometheus.Counter
	certReloads  prometheus.Counter
	certFailures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_edge_" + name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	one := func(name, help string) prometheus.Counter { return vec(name, help).WithLabelValues() }
	requests := vec("requests_total", "Requests, by endpoint and status.", "endpoint", "status")
	received := vec("received_events_total", "Events read from requests that may send them.", "endpoint")
	accepted := vec("accepted_events_total", "Events made durable and acknowledged.", "endpoint")
	rejected := vec("rejected_events_total", "Events not taken.", "endpoint", "reason")
	blocked := vec("blocked_events_total", "Events not taken because their tenant has blocked them, by the list that says so; each is in rejected_events_total as well.", "list")
	m := &metrics{
		nobody:       one("nobody_identifiers_total", "Identifiers dropped because they stand for nobody or cannot be read as their kind."),
		doubtful:     one("doubtful_events_total", "Events refused with 503 that may nevertheless arrive: the log did not answer and the disk failed."),
		panics:       one("panics_total", "Requests that met a bug."),
		rested:       one("rested_seconds_total", "Time that large bodies, backfills above all, have left to small requests; the sum over all requests."),
		refusedConns: one("refused_connections_total", "Connections beyond the limit."),
		certReloads:  one("certificate_reloads_total", "TLS certificates taken in place of the one before."),
		certFailures: one("certificate_failures_total", "Looks at the files of the TLS certificate that found none of use."),
	}
	for list := key.NotBlocked + 1; list < key.Lists; list++ {
		m.blocked[list] = blocked.WithLabelValues(key.ListNames[list])
	}
	for e, name := range endpointNames {
		for i, status := range statuses {
			m.requests[e][i] = requests.WithLabelValues(name, strconv.Itoa(status))
		}
		m.received[e] = received.WithLabelValues(name)
		m.accepted[e] = accepted.WithLabelValues(name)
		for i, reason := range reasons {
			m.rejected[e][i] = rejected.WithLabelValues(name, reason)
		}
	}
	return m
}

func (m *metrics) request(e endpoint, status int) {
	for i, s := range statuses {
		if s == status {
			m.requests[e][i].Inc()
			return
		}
	}
}

func (m *metrics) reject(e endpoint, code string, n int) {
	for i, reason := range reasons {
		if reason == code {
			m.rejected[e][i].Add(float64(n))
			return
		}
	}
}
