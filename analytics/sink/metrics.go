package sink

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the sink. On the event topics records = rows + poison + duplicates + erased, once they
// are flushed.
type metrics struct {
	records    *prometheus.CounterVec   // taken from the log, by topic
	poison     *prometheus.CounterVec   // could not be read, by topic
	missing    *prometheus.CounterVec   // offsets that the log no longer had, by topic
	repeated   prometheus.Counter       // records of keystone.changes that came again
	duplicates prometheus.Counter       // messages that reached the log twice
	erased     *prometheus.CounterVec   // left out, of people who are erased, by topic
	settled    prometheus.Counter       // rows taken out again, of messages that two processes took at once
	suspects   *prometheus.CounterVec   // messages looked up in the table, by verdict
	rows       *prometheus.CounterVec   // inserted, by table
	failures   *prometheus.CounterVec   // attempts to insert that failed, by table
	seconds    *prometheus.HistogramVec // of an insert that succeeded, by table
	lag        *prometheus.GaugeVec     // records, by topic and partition
	buffered   prometheus.Gauge         // bytes
	seen       prometheus.Gauge         // messages remembered
	seenWindow prometheus.Gauge         // seconds
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_sink_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keystone_sink_" + name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keystone_sink_insert_seconds", Help: "Time of an insert into ClickHouse that succeeded.",
		Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
	}, []string{"table"})
	reg.MustRegister(seconds)
	return &metrics{
		records:    counter("records_total", "Records taken from the log.", "topic"),
		poison:     counter("poison_records_total", "Records that could not be read and were skipped.", "topic"),
		missing:    counter("missing_records_total", "Offsets the log no longer had when they were due: lost to retention.", "topic"),
		repeated:   counter("repeated_records_total", "Records of the changes topic that came again and were skipped.").WithLabelValues(),
		duplicates: counter("duplicates_total", "Events left out because their message is in the table already.").WithLabelValues(),
		erased:     counter("erased_records_total", "Records of the log left out, or in part, because they are of people who are erased.", "topic"),
		settled:    counter("settled_duplicates_total", "Rows taken out of the table again because another process took the same message at the same time.").WithLabelValues(),
		suspects:   counter("suspects_total", "Messages looked up in the table because they may have been seen.", "verdict"),
		rows:       counter("rows_total", "Rows inserted.", "table"),
		failures:   counter("insert_failures_total", "Attempts to insert that failed.", "table"),
		seconds:    seconds,
		lag:        gauge("lag_records", "Records in the log that are not in ClickHouse yet.", "topic", "partition"),
		buffered:   gauge("buffered_bytes", "Bytes of the records in memory.").WithLabelValues(),
		seen:       gauge("seen_messages", "Messages remembered to find duplicates.").WithLabelValues(),
		seenWindow: gauge("seen_window_seconds", "How far back messages are remembered.").WithLabelValues(),
	}
}

func (m *metrics) setLag(at tp, records int64) {
	m.lag.WithLabelValues(at.topic, strconv.Itoa(int(at.partition))).Set(float64(max(0, records)))
}

func (m *metrics) dropLag(at tp) {
	m.lag.DeleteLabelValues(at.topic, strconv.Itoa(int(at.partition)))
}
