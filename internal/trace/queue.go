package trace

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// queue is the spans that ended and are not sent yet, at most Config.QueueSpans of them. The SDK's batch
// processor holds and sends them; it drops silently, so what is too much is kept from it here, and
// counted. What is ended is exported, failed, dropped or queued.
type queue struct {
	sdk.SpanProcessor
	exporter
	limit   int64
	metrics *roleMetrics
}

// exporter wraps the SDK's: it counts what became of the spans, and keeps failures from everybody else.
type exporter struct {
	sdk.SpanExporter
	role    string
	log     *slog.Logger
	metrics *roleMetrics
	queued  *atomic.Int64
	told    *atomic.Int64 // UnixNano: when a failure was logged last
	ended   context.Context
	giveUp  context.CancelFunc // ends what is being sent
}

func newQueue(cfg Config, to sdk.SpanExporter, log *slog.Logger, m *roleMetrics) *queue {
	e := exporter{SpanExporter: to, role: cfg.Role, log: log, metrics: m, queued: new(atomic.Int64), told: new(atomic.Int64)}
	e.ended, e.giveUp = context.WithCancel(context.Background())
	m.queued.Store(e.queued)
	return &queue{exporter: e, limit: int64(cfg.QueueSpans), metrics: m, SpanProcessor: sdk.NewBatchSpanProcessor(e,
		sdk.WithMaxQueueSize(cfg.QueueSpans), sdk.WithMaxExportBatchSize(cfg.BatchSpans),
		sdk.WithBatchTimeout(cfg.SendEvery), sdk.WithExportTimeout(cfg.SendTimeout))}
}

// OnEnd never blocks.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	if q.queued.Add(1) > q.limit || q.ended.Err() != nil {
		q.queued.Add(-1)
		q.metrics.dropped.Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// Shutdown is both interfaces': the processor's calls the exporter's.
func (q *queue) Shutdown(ctx context.Context) error { return q.SpanProcessor.Shutdown(ctx) }

// failureInterval bounds the log lines about a collector that is away.
const failureInterval = time.Minute

// ExportSpans sends a batch. Its error goes no further: the SDK would only print it.
func (e exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ended, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.queued.Add(-int64(len(spans)))
	if err == nil {
		e.metrics.exported.Add(float64(len(spans)))
		return nil
	}
	e.metrics.failed.Add(float64(len(spans)))
	now := time.Now().UnixNano()
	if last := e.told.Load(); (last == 0 || now-last > int64(failureInterval)) && e.told.CompareAndSwap(last, now) {
		e.log.WarnContext(ctx, "the collector does not take spans; they are dropped", "role", e.role, "spans", len(spans), "error", err)
	}
	return nil
}
