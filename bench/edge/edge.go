// Package edge runs the real edge alone, on a log, with its keys and jobs in memory instead of in the
// state store: what tests send requests to and benchmarks measure.
package edge

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/ingest"
	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
)

// The keys of the one tenant.
const (
	TrackerKey     = key.PrefixTracker + "bench"
	IntegrationKey = key.PrefixIntegration + "bench"
)

// Tenant is whose keys they are.
var Tenant = uuid.MustParse("0b5e7a1c-0000-7000-8000-6b6579737466")

// Edge is a running edge.
type Edge struct {
	URL string

	role *ingest.Ingest
}

// Start runs an edge on a free port, with the defaults of production. The topics must be there; the
// spool is in dir.
func Start(ctx context.Context, brokers []string, dir string, reg prometheus.Registerer) (*Edge, error) {
	cfg := ingest.DefaultConfig()
	cfg.Edge.Listen, cfg.Log.Brokers, cfg.Spool.Dir = "127.0.0.1:0", brokers, dir
	role, err := ingest.New(cfg, ingest.Deps{Keys: keys(), Jobs: &jobs{all: map[uuid.UUID]job.Job{}},
		Log: slog.New(slog.DiscardHandler), Registry: reg})
	if err != nil {
		return nil, err
	}
	if err := role.Start(ctx); err != nil {
		return nil, err
	}
	return &Edge{URL: "http://" + role.Addr().String(), role: role}, nil
}

// Stop drains and closes it.
func (e *Edge) Stop(ctx context.Context) error { return e.role.Stop(ctx) }

// keyring is the store of keys.
type keyring map[[32]byte]key.Key

func keys() keyring {
	k := func(id string, scope key.Scope) key.Key {
		return key.Key{KeyID: id, Tenant: Tenant, Scope: scope, Settings: event.DefaultSettings()}
	}
	return keyring{
		sha256.Sum256([]byte(TrackerKey)):     k("tracker", key.Tracker),
		sha256.Sum256([]byte(IntegrationKey)): k("integration", key.Integration),
	}
}

// LookupKey implements key.Source.
func (k keyring) LookupKey(_ context.Context, hash [32]byte) (key.Key, error) {
	found, ok := k[hash]
	if !ok {
		return key.Key{}, key.ErrUnknownKey
	}
	return found, nil
}

// jobs is the store of jobs. Nothing processes them, so that each stays enqueued.
type jobs struct {
	mu  sync.Mutex
	all map[uuid.UUID]job.Job
}

// SaveJob implements job.Store.
func (s *jobs) SaveJob(_ context.Context, j job.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[j.ID] = j
	return nil
}

// AppendChunks implements job.Store.
func (s *jobs) AppendChunks(_ context.Context, tenant, id uuid.UUID, chunks []job.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.all[id]
	if !ok || j.Tenant != tenant {
		return job.ErrUnknownJob
	}
	j.Chunks = append(j.Chunks, chunks...)
	s.all[id] = j
	return nil
}

// JobStatus implements job.Store.
func (s *jobs) JobStatus(_ context.Context, tenant, id uuid.UUID) (job.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.all[id]
	if !ok || j.Tenant != tenant {
		return job.Status{}, job.ErrUnknownJob
	}
	return job.Status{ID: id, State: job.Enqueued, Accepted: j.Accepted, Rejected: j.Rejected, CreatedAt: time.Now()}, nil
}
