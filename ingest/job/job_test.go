package job

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	tenant = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	other  = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
)

type store struct {
	mu   sync.Mutex
	jobs map[uuid.UUID]Job
	down bool
}

func (s *store) outage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) SaveJob(_ context.Context, j Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errors.New("connection refused")
	}
	s.jobs[j.ID] = j
	return nil
}

func (s *store) AppendChunks(_ context.Context, tenant, id uuid.UUID, chunks []Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	switch {
	case s.down:
		return errors.New("connection refused")
	case !ok || j.Tenant != tenant:
		return ErrUnknownJob
	}
	j.Chunks = append(j.Chunks, chunks...)
	s.jobs[id] = j
	return nil
}

func (s *store) JobStatus(_ context.Context, tenant, id uuid.UUID) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	if !ok || j.Tenant != tenant {
		return Status{}, ErrUnknownJob
	}
	return Status{ID: id, State: "processing", Accepted: j.Accepted}, nil
}

func within(t *testing.T, change func(*Config), f func(t *testing.T, r *Recorder, s *store)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		if change != nil {
			change(&cfg)
		}
		s := &store{jobs: map[uuid.UUID]Job{}}
		r, err := NewRecorder(cfg, s, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f(t, r, s)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := errors.Join(r.Stop(ctx), r.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
}

func TestSavedAtOnce(t *testing.T) {
	within(t, nil, func(t *testing.T, r *Recorder, s *store) {
		j := Job{ID: uuid.New(), Tenant: tenant, Accepted: 3}
		r.Save(j)
		st, err := r.Status(t.Context(), tenant, j.ID)
		if err != nil || st.State != "processing" || st.Accepted != 3 {
			t.Errorf("%+v %v", st, err)
		}
		if _, err := r.Status(t.Context(), other, j.ID); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("another tenant's: %v", err)
		}
	})
}

func TestStoreDown(t *testing.T) {
	within(t, nil, func(t *testing.T, r *Recorder, s *store) {
		s.outage(true)
		j := Job{ID: uuid.New(), Tenant: tenant, Accepted: 3}
		begin := time.Now()
		r.Save(j)
		if took := time.Since(begin); took != DefaultConfig().SaveWithin {
			t.Errorf("the batch waited %s", took)
		}
		st, err := r.Status(t.Context(), tenant, j.ID)
		if err != nil || st.State != Enqueued || st.Accepted != 3 {
			t.Errorf("while it waits: %+v %v", st, err)
		}
		if _, err := r.Status(t.Context(), other, j.ID); !errors.Is(err, ErrUnknownJob) {
			t.Errorf("another tenant's: %v", err)
		}
		records := []*kgo.Record{record(j, 1, 7), record(j, 2, 3), record(j, 1, 9)}
		r.Delivered(records)
		time.Sleep(10 * time.Minute)
		s.outage(false)
		time.Sleep(DefaultConfig().RetryMax)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := s.jobs[j.ID]; got.Accepted != 3 || len(got.Chunks) != 2 || len(r.waiting) != 0 {
			t.Errorf("after the outage: %+v", got)
		}
	})
}

func record(j Job, partition int32, offset int64) *kgo.Record {
	m := event.Meta{Tenant: j.Tenant, ReceivedAt: time.Now(), JobID: j.ID.String()}
	return &kgo.Record{Topic: event.TopicBackfill, Partition: partition, Offset: offset, Headers: m.Headers()}
}

func TestDeliveredGroupsByJob(t *testing.T) {
	within(t, nil, func(t *testing.T, r *Recorder, s *store) {
		a, b := Job{ID: uuid.New(), Tenant: tenant}, Job{ID: uuid.New(), Tenant: other}
		r.Save(a)
		r.Save(b)
		m := event.Meta{Tenant: tenant, ReceivedAt: time.Now()}
		r.Delivered([]*kgo.Record{record(a, 0, 1), record(a, 0, 2), {Headers: m.Headers()}, record(b, 0, 3), record(a, 1, 4)})
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got, want := s.jobs[a.ID].Chunks, []Chunk{{event.TopicBackfill, 0, 2, 2}, {event.TopicBackfill, 1, 4, 1}}; !slices.Equal(got, want) {
			t.Errorf("%+v", got)
		}
		if got, want := s.jobs[b.ID].Chunks, []Chunk{{event.TopicBackfill, 0, 3, 1}}; !slices.Equal(got, want) {
			t.Errorf("%+v", got)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	within(t, func(c *Config) { c.Queue = 2; c.SaveWithin = time.Millisecond }, func(t *testing.T, r *Recorder, s *store) {
		s.outage(true)
		for range 10 {
			r.Save(Job{ID: uuid.New(), Tenant: tenant})
		}
		if n := testutil.ToFloat64(r.lost); n != 7 { // two wait, one is under way
			t.Errorf("%v are lost", n)
		}
		if len(r.waiting) != 3 {
			t.Errorf("%d are remembered", len(r.waiting))
		}
	})
}

func TestHopelessWritesDoNotBlock(t *testing.T) {
	within(t, func(c *Config) { c.GiveUpAfter = time.Minute }, func(t *testing.T, r *Recorder, s *store) {
		unknown := Job{ID: uuid.New(), Tenant: tenant}
		r.Delivered([]*kgo.Record{record(unknown, 0, 1)})
		synctest.Wait()
		s.outage(true)
		r.Save(Job{ID: uuid.New(), Tenant: tenant})
		time.Sleep(2 * time.Minute)
		s.outage(false)
		good := Job{ID: uuid.New(), Tenant: tenant}
		r.Save(good)
		if n := testutil.ToFloat64(r.lost); n != 2 {
			t.Errorf("%v are lost", n)
		}
		if _, err := r.Status(t.Context(), tenant, good.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestStopWritesWhatWaits(t *testing.T) {
	within(t, func(c *Config) { c.SaveWithin = time.Millisecond }, func(t *testing.T, r *Recorder, s *store) {
		s.outage(true)
		j := Job{ID: uuid.New(), Tenant: tenant}
		r.Save(j)
		s.outage(false)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.jobs[j.ID]; !ok {
			t.Error("it was not written")
		}
	})
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := Config{}.Validate()
	for _, rule := range []string{"queue", "save_within", "retry_after"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
