package produce

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	logged      prometheus.Counter
	spooled     prometheus.Counter
	unavailable prometheus.Counter
	late        prometheus.Counter
	failed      prometheus.Counter
	groups      prometheus.Histogram
	ack         prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, topic string, l *Lane) *metrics {
	labels := prometheus.Labels{"topic": topic}
	counter := func(metric, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_produce_" + metric, Help: help, ConstLabels: labels})
		reg.MustRegister(c)
		return c
	}
	histogram := func(metric, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "keystone_produce_" + metric, Help: help, ConstLabels: labels, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keystone_produce_spooling", Help: "1 while records go to the spool.", ConstLabels: labels,
	}, func() float64 {
		if l.direct() {
			return 0
		}
		return 1
	}))
	return &metrics{
		logged:      counter("logged_records_total", "Records the log has acknowledged, also from the spool."),
		spooled:     counter("spooled_records_total", "Records that went to the spool."),
		unavailable: counter("unavailable_records_total", "Records that neither the log nor the spool took."),
		late:        counter("late_records_total", "Records whose acknowledgement took too long; they went to the spool as well."),
		failed:      counter("failed_records_total", "Records the log answered with an error."),
		groups:      histogram("group_records", "Records sent together.", prometheus.ExponentialBuckets(1, 4, 9)),
		ack:         histogram("ack_seconds", "From handing a group over to its acknowledgement.", prometheus.ExponentialBuckets(0.0005, 2, 14)),
	}
}
