package key

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	lookups  *prometheus.CounterVec
	found    prometheus.Counter
	unknown  prometheus.Counter
	failed   prometheus.Counter
	stale    prometheus.Counter
	evicted  prometheus.Counter
	overflow prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keystone_key_lookups_total", Help: "Questions to the store of keys, by its answer.",
		}, []string{"answer"}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keystone_key_stale_total", Help: "Requests served by a key that could not be checked again because the store is down.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keystone_key_evicted_total", Help: "Known keys forgotten because the cache was full.",
		}),
		overflow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keystone_key_overflow_total", Help: "Requests refused because too many questions to the store were under way.",
		}),
	}
	m.found = m.lookups.WithLabelValues("found")
	m.unknown = m.lookups.WithLabelValues("unknown")
	m.failed = m.lookups.WithLabelValues("failed")
	reg.MustRegister(m.lookups, m.stale, m.evicted, m.overflow)
	return m
}
