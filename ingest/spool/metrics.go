package spool

import "github.com/prometheus/client_golang/prometheus"

// Conservation: appended + recovered = delivered + set aside + pending.
type metrics struct {
	appended  prometheus.Counter
	delivered prometheus.Counter
	recovered prometheus.Counter
	aside     prometheus.Counter
	refused   prometheus.Counter
	doubtful  prometheus.Counter
	failures  prometheus.Counter
	retries   prometheus.Counter
	damaged   prometheus.Counter
	syncs     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, name string, s *Spool) *metrics {
	labels := prometheus.Labels{"spool": name}
	counter := func(metric, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_spool_" + metric, Help: help, ConstLabels: labels})
		reg.MustRegister(c)
		return c
	}
	gauge := func(metric, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keystone_spool_" + metric, Help: help, ConstLabels: labels}, f))
	}
	gauge("pending_records", "Records that wait on disk for the log.", func() float64 { return float64(s.Pending()) })
	gauge("size_bytes", "Bytes on disk.", func() float64 { return float64(s.Bytes()) })
	gauge("limit_bytes", "The most that may lie on disk.", func() float64 { return float64(s.cfg.MaxBytes) })
	return &metrics{
		appended:  counter("appended_records_total", "Records written and synced."),
		delivered: counter("delivered_records_total", "Records taken from here by the log."),
		recovered: counter("recovered_records_total", "Records found on disk at the start."),
		aside:     counter("aside_records_total", "Records the log refuses for ever, put into files of their own."),
		refused:   counter("refused_records_total", "Records not taken because the spool was full."),
		doubtful:  counter("doubtful_records_total", "Records whose sync took longer than their request could wait."),
		failures:  counter("write_failures_total", "Commits that failed and were rolled back."),
		retries:   counter("delivery_retries_total", "Deliveries that failed and were repeated."),
		damaged:   counter("damaged_bytes_total", "Bytes that could not be read back."),
		syncs:     counter("syncs_total", "Commits, each one fsync."),
	}
}
