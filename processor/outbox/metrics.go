package outbox

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what is produced.
type Metrics struct {
	records  *prometheus.CounterVec
	repeated prometheus.Counter
	failures prometheus.Counter
	pending  prometheus.Gauge
}

// NewMetrics registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_outbox_records_total",
			Help: "Records produced and acknowledged, by topic."}, []string{"topic"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_outbox_repeated_batches_total",
			Help: "Batches found in the outbox when a partition was assigned, and produced again."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_outbox_failures_total",
			Help: "Failed attempts at producing a batch or deleting it from the outbox."}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "keystone_outbox_pending_batches",
			Help: "Batches committed by this process and not yet produced."}),
	}
	r.MustRegister(m.records, m.repeated, m.failures, m.pending)
	return m
}
