package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
)

// keySource is the control plane's side of keys.
type keySource struct {
	mu   sync.Mutex
	keys map[[32]byte]key.Key
	down bool
}

func newKeySource() *keySource {
	s := &keySource{keys: map[[32]byte]key.Key{}}
	own := event.DefaultSettings()
	own.Kinds = []string{"loyalty"}
	for text, k := range map[string]key.Key{
		trackerKey:     {KeyID: "trk", Tenant: tenant, Scope: key.Tracker, Settings: own},
		integrationKey: {KeyID: "int", Tenant: tenant, Scope: key.Integration, Settings: own},
		originKey:      {KeyID: "org", Tenant: tenant, Scope: key.Tracker, Origins: []string{"https://shop.example"}, Settings: own},
		slowKey:        {KeyID: "slw", Tenant: tenant, Scope: key.Tracker, RatePerSecond: 0.01, Burst: 1, Settings: own},
		otherKey:       {KeyID: "oth", Tenant: other, Scope: key.Integration, Settings: event.DefaultSettings()},
	} {
		s.keys[sha256.Sum256([]byte(text))] = k
	}
	return s
}

func (s *keySource) LookupKey(_ context.Context, hash [32]byte) (key.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[hash]
	switch {
	case s.down:
		return k, errors.New("connection refused")
	case !ok:
		return k, key.ErrUnknownKey
	}
	return k, nil
}

func (s *keySource) outage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}

// jobStore is the control plane's side of jobs. All that is in the log counts as processed.
type jobStore struct {
	mu   sync.Mutex
	jobs map[uuid.UUID]job.Job
	down bool
}

func (s *jobStore) SaveJob(_ context.Context, j job.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errors.New("connection refused")
	}
	s.jobs[j.ID] = j
	return nil
}

func (s *jobStore) AppendChunks(_ context.Context, _, id uuid.UUID, chunks []job.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	if !ok {
		return job.ErrUnknownJob
	}
	j.Chunks = append(j.Chunks, chunks...)
	s.jobs[id] = j
	return nil
}

func (s *jobStore) JobStatus(_ context.Context, tenant, id uuid.UUID) (job.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	switch {
	case s.down:
		return job.Status{}, errors.New("connection refused")
	case !ok || j.Tenant != tenant:
		return job.Status{}, job.ErrUnknownJob
	}
	st := job.Status{ID: id, State: "done", Accepted: j.Accepted, Rejected: j.Rejected, CreatedAt: time.Unix(1763884800, 0)}
	for _, c := range j.Chunks {
		st.Processed += c.Count
	}
	return st, nil
}
