package consume

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/store"
)

// Metrics count what became of the log's records. Conservation: records read from the log once are
// applied + duplicate + erased + dead + landed.
type Metrics struct {
	records     *prometheus.CounterVec // lane, result
	dead        *prometheus.CounterVec // reason
	retries     *prometheus.CounterVec // kind
	conflicts   *prometheus.CounterVec // reason
	times       *prometheus.CounterVec // note
	merges      prometheus.Counter
	lineage     prometheus.Counter
	dropped     prometheus.Counter
	fenced      prometheus.Counter
	missing     prometheus.Counter
	fetchErrors prometheus.Counter
	batch       *prometheus.HistogramVec // lane; seconds
	batchSize   *prometheus.HistogramVec // lane; records
	lag         *prometheus.GaugeVec     // topic, partition
}

// The lanes and results are closed sets.
const (
	laneLive     = "live"
	laneBackfill = "backfill"

	resultApplied   = "applied"
	resultDuplicate = "duplicate"
	resultErased    = "erased" // of somebody who is erased
	resultDead      = "dead"
	resultLanded    = "landed" // applied or duplicate, by a commit that was found out about later

	retryTransaction = "transaction" // met another transaction
	retryStore       = "store"       // the state store was down, or refused the batch
	retrySplit       = "split"       // a batch was halved
)

// timeNotes names the odd ones of event.TimeNote.
var timeNotes = map[event.TimeNote]string{event.TimeUnparsable: "unparsable", event.SentAtIgnored: "sent_at_ignored", event.TimeInFuture: "in_future"}

// NewMetrics registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_processor_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keystone_processor_" + name, Help: help}, labels)
	}
	m := &Metrics{
		records:     counters("records_total", "Records of the log, by lane and by what became of them.", "lane", "result"),
		dead:        counters("dead_letters_total", "Records given up, by reason.", "reason"),
		retries:     counters("retries_total", "Work done again, by kind.", "kind"),
		conflicts:   counters("identity_conflicts_total", "What events stated and was refused, by reason.", "reason"),
		times:       counters("odd_times_total", "Events whose time was corrected, by what was odd.", "note"),
		merges:      counter("merges_total", "Profiles that were collapsed or merged into others."),
		lineage:     counter("attribute_changes_total", "Changed leaves of attributes."),
		dropped:     counter("identifiers_dropped_total", "Identifiers that stand for nobody or cannot be read."),
		fenced:      counter("fenced_batches_total", "Batches dropped because the partition had another owner."),
		missing:     counter("missing_records_total", "Offsets the log no longer had when they were due: lost to retention."),
		fetchErrors: counter("fetch_errors_total", "Errors of the log while fetching."),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keystone_processor_batch_seconds",
			Help: "From taking a batch to its commit.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}, []string{"lane"}),
		batchSize: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keystone_processor_batch_records",
			Help: "Records in a transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 12)}, []string{"lane"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keystone_processor_lag_records",
			Help: "Records in the log that are not processed yet, for the partitions of this process."}, []string{"topic", "partition"}),
	}
	r.MustRegister(m.records, m.dead, m.retries, m.conflicts, m.times, m.merges, m.lineage, m.dropped, m.fenced, m.missing,
		m.fetchErrors, m.batch, m.batchSize, m.lag)
	for _, reason := range identity.Reasons {
		m.conflicts.WithLabelValues(string(reason))
	}
	return m
}

// committed counts a batch once it is for certain.
func (m *Metrics) committed(lane string, b *store.Batch, out *store.Outcome, took time.Duration) {
	m.batch.WithLabelValues(lane).Observe(took.Seconds())
	m.batchSize.WithLabelValues(lane).Observe(float64(len(b.Events) + len(b.Dead)))
	if out.Landed {
		m.records.WithLabelValues(lane, resultLanded).Add(float64(len(b.Events)))
	} else {
		m.records.WithLabelValues(lane, resultApplied).Add(float64(out.Applied))
		m.records.WithLabelValues(lane, resultDuplicate).Add(float64(out.Duplicates))
		m.records.WithLabelValues(lane, resultErased).Add(float64(out.Erased))
	}
	m.records.WithLabelValues(lane, resultDead).Add(float64(len(b.Dead)))
	for i := range b.Dead {
		m.dead.WithLabelValues(b.Dead[i].Reason).Inc()
	}
	for reason, n := range out.Conflicts {
		m.conflicts.WithLabelValues(string(reason)).Add(float64(n))
	}
	m.merges.Add(float64(out.Merges))
	m.lineage.Add(float64(out.Lineage))
	m.retries.WithLabelValues(retryTransaction).Add(float64(out.Retries))
}

func (m *Metrics) setLag(p place, records int64) {
	m.lag.WithLabelValues(p.topic, strconv.Itoa(int(p.partition))).Set(float64(max(records, 0)))
}

func (m *Metrics) forget(p place) {
	m.lag.DeleteLabelValues(p.topic, strconv.Itoa(int(p.partition)))
}
