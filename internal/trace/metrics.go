package trace

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are one process's: those of several roles, where it runs several.
type Metrics struct {
	spans *prometheus.CounterVec
	left  *prometheus.CounterVec
	reg   prometheus.Registerer
}

// roleMetrics are resolved once. Spans that ended are exported + failed + dropped + queued.
type roleMetrics struct {
	exported, failed, dropped prometheus.Counter
	leftOut                   prometheus.Counter
	queued                    atomic.Pointer[atomic.Int64] // the queue's own count
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		reg: reg,
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_trace_spans_total",
			Help: "Spans, by what became of them: exported, failed (the collector did not take them), dropped (the queue was full)."}, []string{"role", "result"}),
		left: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_trace_left_out_records_total",
			Help: "Traced records that got no spans because their batch had too many of them."}, []string{"role"}),
	}
	reg.MustRegister(m.spans, m.left)
	return m
}

// of are one role's.
func (m *Metrics) of(role string) *roleMetrics {
	r := &roleMetrics{
		exported: m.spans.WithLabelValues(role, "exported"),
		failed:   m.spans.WithLabelValues(role, "failed"),
		dropped:  m.spans.WithLabelValues(role, "dropped"),
		leftOut:  m.left.WithLabelValues(role),
	}
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keystone_trace_queued_spans",
		Help: "Spans that ended and are not sent yet.", ConstLabels: prometheus.Labels{"role": role}}, func() float64 {
		if n := r.queued.Load(); n != nil {
			return float64(n.Load())
		}
		return 0
	}))
	return r
}
