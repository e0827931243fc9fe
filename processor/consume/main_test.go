package consume

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// patience bounds every wait of the tests.
const patience = 2 * time.Minute

// rig is a log, a state store and a tenant; consumers come and go.
type rig struct {
	t       *testing.T
	brokers []string
	dsn     string
	pool    *pgxpool.Pool
	states  *store.Store
	plane   *control.Plane
	tenant  uuid.UUID
	client  *kgo.Client
	clock   time.Time
	tracer  *trace.Tracer // of the consumers to come
}

func newRig(t *testing.T, partitions int) *rig {
	t.Helper()
	return newRigOn(t, enginetest.Broker(t), partitions)
}

// newRigOn is a rig on a broker without topics.
func newRigOn(t *testing.T, brokers []string, partitions int) *rig {
	t.Helper()
	r := &rig{t: t, brokers: brokers, dsn: enginetest.Store(t), clock: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	enginetest.CreateTopics(t, brokers, enginetest.Topic{Name: event.TopicEvents, Partitions: partitions}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 2}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	if err := sql.Migrate(t.Context(), r.dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	r.pool, r.states = r.open(r.dsn)
	r.plane = control.New(r.pool)
	tenant, err := r.plane.CreateTenant(t.Context(), "shop", "Shop")
	if err != nil {
		t.Fatal(err)
	}
	r.tenant = tenant.ID
	if r.client, err = kgo.NewClient(kgo.SeedBrokers(r.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *rig) open(dsn string) (*pgxpool.Pool, *store.Store) {
	r.t.Helper()
	pool, err := sql.Open(context.Background(), dsn, 8)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(pool.Close)
	states, err := store.New(store.DefaultConfig(), pool)
	if err != nil {
		r.t.Fatal(err)
	}
	return pool, states
}

// running is a consumer with all it works with.
type running struct {
	*Consumer
	t        *testing.T
	registry *prometheus.Registry
	producer *kgo.Client
}

// start runs a consumer. states is what it sees of the store; nil: the rig's.
func (r *rig) start(states Store, change func(*Config)) *running {
	r.t.Helper()
	if states == nil {
		states = r.states
	}
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Instance = r.brokers, "test"
	cfg.RetryMin, cfg.RetryMax, cfg.CommitEvery, cfg.FenceWait = time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	producer, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		r.t.Fatal(err)
	}
	publisher, err := outbox.New(outbox.DefaultConfig(), producer, r.states, log, outbox.NewMetrics(registry))
	if err != nil {
		r.t.Fatal(err)
	}
	publisher.Tracer = r.tracer
	c, err := New(cfg, Parts{Store: states, Outbox: publisher, Tenants: r.plane, Log: log, Metrics: NewMetrics(registry), Tracer: r.tracer})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	x := &running{c, r.t, registry, producer}
	r.t.Cleanup(x.end)
	return x
}

func (x *running) end() {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.Stop(ctx); err != nil {
		x.t.Error(err)
	}
	x.producer.Close()
}

// metric is the sum of a metric over the labels that are given as name, value pairs.
func (x *running) metric(name string, labels ...string) (sum float64) {
	x.t.Helper()
	families, err := x.registry.Gather()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// record is an event in the log.
func (r *rig) record(topic string, partition int32, text string) *kgo.Record {
	r.clock = r.clock.Add(time.Microsecond)
	meta := event.Meta{Tenant: r.tenant, ReceivedAt: r.clock, JobID: "job-1"}
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte("key"), Value: []byte(text), Headers: meta.Headers()}
}

// page is a page view of a device.
func (r *rig) page(id int, device string) string {
	return fmt.Sprintf(`{"message_id":"m%d","anonymous_id":%q,"event_type":"page","payload":{"url":"https://shop.example/"}}`, id, device)
}

// send puts records into the log, into the partitions they name.
func (r *rig) send(records ...*kgo.Record) {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) // polling, with a deadline
	}
}

// at waits until the processor has come to an offset, and everything is produced.
func (r *rig) at(topic string, partition int32, next int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s/%d at %d", topic, partition, next), func() bool {
		offsets, err := r.plane.Offsets(r.t.Context())
		if err != nil {
			return false
		}
		for _, o := range offsets {
			if o.Topic == topic && o.Partition == partition {
				return o.Next == next && o.Unpublished == 0
			}
		}
		return next == 0
	})
}

// read is all of a topic.
func (r *rig) read(topic string) []*kgo.Record {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	want := r.end(topic)
	var got []*kgo.Record
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for int64(len(got)) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.t.Fatal(err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

// counted is the sum of event_count over the live profiles.
func (r *rig) counted() (n int64) {
	r.t.Helper()
	for p, err := range r.states.Profiles(r.t.Context(), r.tenant, false) {
		if err != nil {
			r.t.Fatal(err)
		}
		n += p.EventCount
	}
	return n
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// latest are the newest states that the changes tell, by profile.
func latest(t *testing.T, records []*kgo.Record) map[uuid.UUID]event.ProfileState {
	t.Helper()
	all := map[uuid.UUID]event.ProfileState{}
	for _, r := range records {
		var c event.Change
		if err := json.Unmarshal(r.Value, &c); err != nil {
			t.Fatal(err)
		}
		if string(r.Key) != c.ProfileID.String() || !strings.HasPrefix(header(r, event.HeaderSourceTopic), "keystone.") {
			t.Errorf("a change with key %q of %q", r.Key, header(r, event.HeaderSourceTopic))
		}
		if c.Profile != nil && c.Profile.Version >= all[c.ProfileID].Version {
			all[c.ProfileID] = *c.Profile
		}
	}
	return all
}
