package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// patience bounds every wait of the tests.
const patience = 2 * time.Minute

// rig is a log, a state store and a running consumer, whose store refuses what it is told to.
type rig struct {
	*testing.T
	brokers []string
	pool    *pgxpool.Pool
	states  *store.Store
	plane   *control.Plane
	tenant  uuid.UUID
	job     uuid.UUID
	admin   *kadm.Client
	queue   *Queue
	refused *refusing
	next    int64 // of keystone.events/0
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, job: uuid.New()}
	r.brokers = enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 2}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 1}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	dsn := enginetest.Store(t)
	check(t, sql.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)))
	var err error
	r.pool, err = sql.Open(context.Background(), dsn, 8)
	check(t, err)
	t.Cleanup(r.pool.Close)
	r.states, err = store.New(store.DefaultConfig(), r.pool)
	check(t, err)
	r.plane = control.New(r.pool)
	tenant, err := r.plane.CreateTenant(t.Context(), "shop", "Shop")
	check(t, err)
	r.tenant = tenant.ID
	check(t, r.plane.SaveJob(t.Context(), control.Job{Tenant: r.tenant, ID: r.job, Accepted: 1}))
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	check(t, err)
	t.Cleanup(client.Close)
	r.admin = kadm.NewClient(client)
	r.queue = r.open(r.states)
	r.refused = &refusing{Store: r.states}
	r.consume()
	return r
}

func (r *rig) open(states Store) *Queue {
	r.Helper()
	q, err := New(states, r.brokers, "a test")
	check(r.T, err)
	r.Cleanup(q.Close)
	return q
}

func (r *rig) consume() {
	r.Helper()
	producer, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	check(r.T, err)
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	publisher, err := outbox.New(outbox.DefaultConfig(), producer, r.states, log, outbox.NewMetrics(registry))
	check(r.T, err)
	cfg := consume.DefaultConfig()
	cfg.Brokers, cfg.Instance, cfg.RetryMin, cfg.RetryMax = r.brokers, "test", time.Millisecond, 50*time.Millisecond
	c, err := consume.New(cfg, consume.Parts{Store: r.refused, Outbox: publisher, Tenants: r.plane, Log: log, Metrics: consume.NewMetrics(registry)})
	check(r.T, err)
	check(r.T, c.Start(r.Context()))
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(r.T, c.Stop(ctx))
		producer.Close()
	})
}

// refusing is a store that cannot hold one message: the cause that goes away.
type refusing struct {
	consume.Store
	mu      sync.Mutex
	message string
}

func (s *refusing) refuse(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.message = message
}

func (s *refusing) Apply(ctx context.Context, b *store.Batch) (store.Outcome, error) {
	s.mu.Lock()
	message := s.message
	s.mu.Unlock()
	for _, e := range b.Events {
		if e.MessageID == message {
			return store.Outcome{}, errors.New("cannot be stored")
		}
	}
	return s.Store.Apply(ctx, b)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) record(tenant uuid.UUID, value string) *kgo.Record {
	meta := event.Meta{Tenant: tenant, ReceivedAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), JobID: r.job.String()}
	return &kgo.Record{Topic: event.TopicEvents, Key: []byte("key\x1f"), Value: []byte(value), Headers: append(meta.Headers(), kgo.RecordHeader{Key: "x-own", Value: []byte{0xff}})}
}

// send puts records into keystone.events/0 and waits until they are processed.
func (r *rig) send(records ...*kgo.Record) {
	r.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	check(r.T, err)
	defer client.Close()
	check(r.T, client.ProduceSync(r.Context(), records...).FirstErr())
	r.processed(len(records))
}

// processed waits until n more records are.
func (r *rig) processed(n int) {
	r.Helper()
	r.next += int64(n)
	deadline := time.Now().Add(patience)
	for {
		offsets, err := r.plane.Offsets(r.Context())
		check(r.T, err)
		for _, o := range offsets {
			if o.Topic == event.TopicEvents && o.Partition == 0 && o.Next == r.next && o.Unpublished == 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			r.Fatalf("waited in vain for keystone.events/0 at %d: %+v", r.next, offsets)
		}
		time.Sleep(5 * time.Millisecond) // polling, with a deadline
	}
}

func page(message string) string {
	return fmt.Sprintf(`{"message_id":%q,"anonymous_id":"device","event_type":"page"}`, message)
}

// broken are records that no event is in.
func (r *rig) broken(n int) []*kgo.Record {
	all := make([]*kgo.Record, n)
	for i := range all {
		all[i] = r.record(r.tenant, "{")
	}
	return all
}

// letters are those in a state, in the order of the log.
func (r *rig) letters(state string) []store.DeadLetterRow {
	r.Helper()
	var all []store.DeadLetterRow
	for l, err := range r.states.ListDeadLetters(r.Context(), store.DeadLetterFilter{State: state}) {
		check(r.T, err)
		all = append(all, l)
	}
	return all
}

// at is the letter at an offset of keystone.events/0.
func (r *rig) at(offset int64) *store.DeadLetterRow {
	r.Helper()
	l, err := r.queue.Find(r.Context(), ID{event.TopicEvents, 0, offset}, nil)
	check(r.T, err)
	return l
}

func these(letters ...*store.DeadLetterRow) iter.Seq2[store.DeadLetterRow, error] {
	return func(yield func(store.DeadLetterRow, error) bool) {
		for _, l := range letters {
			if !yield(*l, nil) {
				return
			}
		}
	}
}

// replay answers what was reported.
func (r *rig) replay(q *Queue, o ReplayOptions, letters ...*store.DeadLetterRow) (all []Result, err error) {
	err = q.Replay(r.Context(), these(letters...), o, func(x Result) { all = append(all, x) })
	return all, err
}

// replayed wants all of them replayed and processed.
func (r *rig) replayed(o ReplayOptions, letters ...*store.DeadLetterRow) {
	r.Helper()
	all, err := r.replay(r.queue, o, letters...)
	check(r.T, err)
	for _, x := range all {
		check(r.T, x.Err)
	}
	if len(all) != len(letters) {
		r.Fatalf("%d of %d were reported", len(all), len(letters))
	}
	r.processed(len(letters))
}

// counted is the sum of event_count over a tenant's live profiles.
func (r *rig) counted(tenant uuid.UUID) (n int64) {
	r.Helper()
	for p, err := range r.states.Profiles(r.Context(), tenant, false) {
		check(r.T, err)
		n += p.EventCount
	}
	return n
}

func (r *rig) failed() int64 {
	r.Helper()
	s, err := r.plane.Job(r.Context(), r.tenant, r.job)
	check(r.T, err)
	return s.Failed
}

// retention takes a topic's partition 0 up to an offset.
func (r *rig) retention(topic string, upTo int64) {
	r.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, upTo, -1)
	answers, err := r.admin.DeleteRecords(r.Context(), offsets)
	check(r.T, err)
	check(r.T, answers.Error())
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in %q", p, text)
		}
	}
}
