package main

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/control"
)

// edgePlane shows the control plane to the edge, in the edge's own words: a stage knows no other
// package's types.
type edgePlane struct{ plane *control.Plane }

// LookupKey implements key.Source.
func (e edgePlane) LookupKey(ctx context.Context, hash [32]byte) (key.Key, error) {
	k, err := e.plane.LookupKey(ctx, hash)
	if errors.Is(err, control.ErrUnknownKey) {
		return key.Key{}, key.ErrUnknownKey
	}
	if err != nil {
		return key.Key{}, err
	}
	scope := key.Tracker
	if k.Scope == control.Integration {
		scope = key.Integration
	}
	return key.Key{
		KeyID: k.KeyID, Tenant: k.Tenant, Scope: scope, Origins: k.Origins,
		RatePerSecond: k.Rate, Burst: k.Burst, Settings: k.Settings,
	}, nil
}

// SaveJob implements job.Store.
func (e edgePlane) SaveJob(ctx context.Context, j job.Job) error {
	return e.plane.SaveJob(ctx, control.Job{
		Tenant: j.Tenant, ID: j.ID, Accepted: j.Accepted, Rejected: j.Rejected, Chunks: chunks(j.Chunks),
	})
}

// AppendChunks implements job.Store. The job's counts were saved with it.
func (e edgePlane) AppendChunks(ctx context.Context, tenant, id uuid.UUID, more []job.Chunk) error {
	err := e.plane.AppendChunks(ctx, tenant, id, 0, 0, chunks(more)...)
	if errors.Is(err, control.ErrUnknownJob) {
		return job.ErrUnknownJob
	}
	return err
}

// JobStatus implements job.Store.
func (e edgePlane) JobStatus(ctx context.Context, tenant, id uuid.UUID) (job.Status, error) {
	s, err := e.plane.Job(ctx, tenant, id)
	if errors.Is(err, control.ErrUnknownJob) {
		return job.Status{}, job.ErrUnknownJob
	}
	if err != nil {
		return job.Status{}, err
	}
	return job.Status{
		ID: s.JobID, State: s.Status, Accepted: s.Accepted, Rejected: s.Rejected,
		Processed: s.Processed, Failed: s.Failed, CreatedAt: s.CreatedAt,
	}, nil
}

func chunks(in []job.Chunk) []control.Chunk {
	out := make([]control.Chunk, len(in))
	for i, c := range in {
		out[i] = control.Chunk(c)
	}
	return out
}
