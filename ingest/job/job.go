// Package job writes down how a batch fared, so that its sender can follow it: how many events were
// accepted, and where in the log they lie (the processor's offsets then tell the rest). The batch
// itself never waits long for it: while the store of jobs is down, what is to be written waits in a
// bounded queue in memory. The events are safe without it; a crash in that time loses progress
// reports, never events.
//
// A Recorder's worker runs between Start and Stop.
package job

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Job is one batch.
type Job struct {
	ID       uuid.UUID
	Tenant   uuid.UUID
	Accepted int64 // events
	Rejected int64
	Chunks   []Chunk // of what is in the log already; the rest waits in the spool
}

// Chunk is where some of a job's events are: they are processed when the processor is past
// LastOffset.
type Chunk struct {
	Topic      string
	Partition  int32
	LastOffset int64
	Count      int64
}

// Status is how far a job has come.
type Status struct {
	ID        uuid.UUID
	State     string // enqueued, processing, done
	Accepted  int64
	Rejected  int64
	Processed int64 // failed ones included
	Failed    int64
	CreatedAt time.Time
}

// Enqueued is the state of a job of which nothing is processed yet.
const Enqueued = "enqueued"

// ErrUnknownJob says that the tenant has no such job.
var ErrUnknownJob = errors.New("unknown job")

// Store keeps jobs.
type Store interface {
	// SaveJob writes a job, or replaces it.
	SaveJob(ctx context.Context, j Job) error
	// AppendChunks adds to a saved job what has reached the log since; ErrUnknownJob.
	AppendChunks(ctx context.Context, tenant, id uuid.UUID, chunks []Chunk) error
	// JobStatus tells how far a tenant's job has come; ErrUnknownJob.
	JobStatus(ctx context.Context, tenant, id uuid.UUID) (Status, error)
}

// Summarize adds to chunks where records of one job lie, one chunk for each partition.
func Summarize(chunks []Chunk, records []*kgo.Record) []Chunk {
	from := len(chunks)
next:
	for _, r := range records {
		for i := from; i < len(chunks); i++ {
			if c := &chunks[i]; c.Partition == r.Partition && c.Topic == r.Topic {
				c.Count++
				c.LastOffset = max(c.LastOffset, r.Offset)
				continue next
			}
		}
		chunks = append(chunks, Chunk{Topic: r.Topic, Partition: r.Partition, LastOffset: r.Offset, Count: 1})
	}
	return chunks
}

// of tells which job a record belongs to.
func of(r *kgo.Record) (tenant, id uuid.UUID, ok bool) {
	for _, h := range r.Headers {
		var err error
		switch h.Key {
		case event.HeaderTenant:
			tenant, err = uuid.ParseBytes(h.Value)
		case event.HeaderJobID:
			id, err = uuid.ParseBytes(h.Value)
		}
		if err != nil {
			return tenant, id, false
		}
	}
	return tenant, id, id != uuid.Nil
}
