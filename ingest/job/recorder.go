package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/throttle"
)

// Config of a Recorder.
type Config struct {
	Queue        int           // writes that may wait for the store; more are lost, and counted
	SaveWithin   time.Duration // a batch waits this long for its job to be written, then answers anyway
	StoreTimeout time.Duration // of one write or read
	RetryAfter   time.Duration // first wait after an error; doubles up to RetryMax
	RetryMax     time.Duration
	GiveUpAfter  time.Duration // a write that fails for so long is lost, so that one cannot block all
}

// DefaultConfig rides out half an hour of a store that is down.
func DefaultConfig() Config {
	return Config{
		Queue:        10_000,
		SaveWithin:   250 * time.Millisecond,
		StoreTimeout: 2 * time.Second,
		RetryAfter:   100 * time.Millisecond,
		RetryMax:     5 * time.Second,
		GiveUpAfter:  30 * time.Minute,
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.Queue < 1 {
		errs = append(errs, errors.New("job: queue must be at least 1"))
	}
	if c.SaveWithin <= 0 || c.StoreTimeout <= 0 || c.GiveUpAfter <= 0 {
		errs = append(errs, errors.New("job: save_within, store_timeout and give_up_after must be positive"))
	}
	if c.RetryAfter <= 0 || c.RetryMax < c.RetryAfter {
		errs = append(errs, errors.New("job: retry_after must be positive and at most retry_max"))
	}
	return errors.Join(errs...)
}

// Recorder writes jobs to a store in the order they were told.
type Recorder struct {
	cfg   Config
	store Store
	log   *slog.Logger
	lost  prometheus.Counter

	losses throttle.Message
	queue  chan task
	cancel context.CancelFunc
	quit   chan struct{}
	once   sync.Once
	worker sync.WaitGroup

	mu      sync.Mutex
	waiting map[uuid.UUID]Job // told, and not written yet
}

// task is one write. Either save or chunks is set.
type task struct {
	save   *Job
	tenant uuid.UUID
	id     uuid.UUID
	chunks []Chunk
	since  time.Time
	done   chan struct{} // closed when it is written or lost
}

// NewRecorder makes a recorder.
func NewRecorder(cfg Config, store Store, log *slog.Logger, reg prometheus.Registerer) (*Recorder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Recorder{
		cfg: cfg, store: store, log: log,
		queue: make(chan task, cfg.Queue), quit: make(chan struct{}), waiting: map[uuid.UUID]Job{},
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keystone_job_lost_writes_total", Help: "Progress reports that could not be written down. Events are never lost with them.",
		}),
	}
	reg.MustRegister(r.lost, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keystone_job_waiting_writes", Help: "Progress reports that wait for the store.",
	}, func() float64 { return float64(len(r.queue)) }))
	return r, nil
}

// Start runs the worker.
func (r *Recorder) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.worker.Go(func() { r.run(ctx) })
	return nil
}

// Stop writes what waits, until ctx ends. Nothing may be told after it.
func (r *Recorder) Stop(ctx context.Context) error {
	r.once.Do(func() { close(r.quit) })
	if r.cancel == nil {
		return nil
	}
	done := make(chan struct{})
	go func() { r.worker.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		r.cancel()
		<-done
	}
	r.cancel()
	return nil
}

// Save writes a job down. It waits a moment for that, so that the sender finds it at once.
func (r *Recorder) Save(j Job) {
	r.mu.Lock()
	r.waiting[j.ID] = j
	r.mu.Unlock()
	t := task{save: &j, tenant: j.Tenant, id: j.ID, since: time.Now(), done: make(chan struct{})}
	if !r.enqueue(t) {
		return
	}
	timer := time.NewTimer(r.cfg.SaveWithin)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
	}
}

// Delivered is told of records that have reached the log by way of the spool.
func (r *Recorder) Delivered(records []*kgo.Record) {
	type job struct{ tenant, id uuid.UUID }
	var last job
	from := 0
	flush := func(to int) {
		if last.id != uuid.Nil && to > from {
			r.enqueue(task{tenant: last.tenant, id: last.id, chunks: Summarize(nil, records[from:to]), since: time.Now(), done: make(chan struct{})})
		}
		from = to
	}
	for i, record := range records {
		tenant, id, ok := of(record)
		if !ok {
			tenant, id = uuid.Nil, uuid.Nil
		}
		if now := (job{tenant, id}); now != last {
			flush(i)
			last = now
		}
	}
	flush(len(records))
}

func (r *Recorder) enqueue(t task) bool {
	select {
	case r.queue <- t:
		return true
	default:
		r.drop(t, errors.New("the queue is full"))
		return false
	}
}

func (r *Recorder) drop(t task, err error) {
	r.lost.Inc()
	if leftOut, ok := r.losses.Now(); ok {
		r.log.Error("could not write a job's progress down", "job_id", t.id, "error", err, "left_out", leftOut)
	}
	r.finish(t)
}

func (r *Recorder) finish(t task) {
	if t.save != nil {
		r.mu.Lock()
		delete(r.waiting, t.id)
		r.mu.Unlock()
	}
	close(t.done)
}

// Status tells how far a tenant's job has come; ErrUnknownJob, or the store's error.
func (r *Recorder) Status(ctx context.Context, tenant, id uuid.UUID) (Status, error) {
	r.mu.Lock()
	j, waits := r.waiting[id]
	r.mu.Unlock()
	if waits && j.Tenant == tenant {
		return Status{ID: id, State: Enqueued, Accepted: j.Accepted, Rejected: j.Rejected}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	return r.store.JobStatus(ctx, tenant, id)
}

func (r *Recorder) run(ctx context.Context) {
	for {
		select {
		case t := <-r.queue:
			r.write(ctx, t)
			continue
		default:
		}
		select {
		case t := <-r.queue:
			r.write(ctx, t)
		case <-r.quit:
			if len(r.queue) == 0 {
				return
			}
		}
	}
}

// write repeats one write until it succeeds, is too old, or ctx ends.
func (r *Recorder) write(ctx context.Context, t task) {
	wait := r.cfg.RetryAfter
	for {
		err := r.try(ctx, t)
		switch {
		case err == nil:
			r.finish(t)
			return
		case errors.Is(err, ErrUnknownJob), ctx.Err() != nil, time.Since(t.since) > r.cfg.GiveUpAfter:
			r.drop(t, err)
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, r.cfg.RetryMax)
		case <-ctx.Done():
		}
	}
}

func (r *Recorder) try(ctx context.Context, t task) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	if t.save != nil {
		return r.store.SaveJob(ctx, *t.save)
	}
	return r.store.AppendChunks(ctx, t.tenant, t.id, t.chunks)
}
