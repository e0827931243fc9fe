package control

import (
	"context"
	"fmt"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	jobSave   = sql.Statement("job_save")
	jobAppend = sql.Statement("job_append")
	jobLoad   = sql.Statement("job_load")
	jobFailed = sql.Statement("job_failed")
)

// Job is one HTTP batch as the edge took it.
type Job struct {
	Tenant   uuid.UUID
	ID       uuid.UUID
	Accepted int64 // events in the log
	Rejected int64
	Chunks   []Chunk
}

// Chunk is where some of a job's events lie in the log. It counts as processed once the processor
// is past LastOffset.
type Chunk struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	LastOffset int64  `json:"last_offset"`
	Count      int64  `json:"count"`
}

// The states of a job.
const (
	JobEnqueued   = "enqueued"   // nothing processed yet
	JobProcessing = "processing" //
	JobDone       = "done"       // every accepted event was processed or failed
)

// JobStatus is how far a job has come. Processed includes Failed.
type JobStatus struct {
	JobID     uuid.UUID `json:"job_id"`
	Status    string    `json:"status"`
	Accepted  int64     `json:"accepted"`
	Rejected  int64     `json:"rejected"`
	Processed int64     `json:"processed"`
	Failed    int64     `json:"failed"` // in the dead-letter queue, and not replayed since
	CreatedAt time.Time `json:"created_at"`
}

// SaveJob writes a job down, or replaces what was written.
func (p *Plane) SaveJob(ctx context.Context, job Job) error {
	chunks, err := chunkTexts(job.Chunks)
	if err != nil {
		return err
	}
	if _, err := p.exec(ctx, jobSave, job.Tenant, job.ID, job.Accepted, job.Rejected, chunks, time.Now().UTC()); err != nil {
		return fmt.Errorf("save job: %w", err)
	}
	return nil
}

// AppendChunks adds to a job what was accepted and rejected since; a job that was never saved is
// ErrUnknownJob. The same chunk twice counts once.
func (p *Plane) AppendChunks(ctx context.Context, tenant, id uuid.UUID, accepted, rejected int64, chunks ...Chunk) error {
	texts, err := chunkTexts(chunks)
	if err != nil {
		return err
	}
	n, err := p.exec(ctx, jobAppend, tenant, id, accepted, rejected, texts)
	if err != nil {
		return fmt.Errorf("append to job: %w", err)
	}
	if n == 0 {
		return ErrUnknownJob
	}
	return nil
}

func chunkTexts(chunks []Chunk) ([]string, error) {
	texts := make([]string, len(chunks))
	for i, c := range chunks {
		text, err := json.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("write chunk: %w", err)
		}
		texts[i] = string(text)
	}
	return texts, nil
}

// Job tells how far a tenant's job has come; else ErrUnknownJob.
func (p *Plane) Job(ctx context.Context, tenant, id uuid.UUID) (JobStatus, error) {
	s, chunks, err := p.loadJob(ctx, tenant, id)
	if err != nil {
		return s, err
	}
	next := map[place]int64{}
	offsets, err := p.offsets(ctx)
	if err != nil {
		return s, err
	}
	for _, o := range offsets {
		next[place{o.Topic, o.Partition}] = o.Next
	}
	counted := map[Chunk]bool{} // an edge that repeats an append must not make a job look done
	for _, c := range chunks {
		if counted[c] {
			continue
		}
		counted[c] = true
		if c.LastOffset < next[place{c.Topic, c.Partition}] {
			s.Processed += c.Count
		}
	}
	// Counted after the offsets, and in the same transactions as they move: never too few.
	failed, err := query(ctx, p, pgx.RowTo[int64], jobFailed, tenant, id.String())
	if err != nil {
		return s, fmt.Errorf("count a job's dead letters: %w", err)
	}
	s.Failed = failed[0]
	switch {
	case s.Processed >= s.Accepted:
		s.Status = JobDone
	case s.Processed > 0:
		s.Status = JobProcessing
	default:
		s.Status = JobEnqueued
	}
	return s, nil
}

type place struct {
	topic     string
	partition int32
}

func (p *Plane) loadJob(ctx context.Context, tenant, id uuid.UUID) (JobStatus, []Chunk, error) {
	s := JobStatus{JobID: id}
	found, err := query(ctx, p, func(r pgx.CollectableRow) (texts []string, err error) {
		err = r.Scan(&s.Accepted, &s.Rejected, &texts, &s.CreatedAt)
		return texts, err
	}, jobLoad, tenant, id)
	if err != nil {
		return s, nil, fmt.Errorf("load job: %w", err)
	}
	if len(found) == 0 {
		return s, nil, ErrUnknownJob
	}
	chunks := make([]Chunk, len(found[0]))
	for i, text := range found[0] {
		if err := json.Unmarshal([]byte(text), &chunks[i]); err != nil {
			return s, nil, fmt.Errorf("read chunk: %w", err)
		}
	}
	return s, chunks, nil
}
