package simulate

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

var (
	tenant = uuid.MustParse("33333333-3333-4333-8333-333333333333")
	other  = uuid.MustParse("44444444-4444-4444-8444-444444444444")
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// rig is a log that is written to by hand.
type rig struct {
	t       *testing.T
	brokers []string
	client  *kgo.Client
}

func newRig(t *testing.T, partitions int) *rig {
	t.Helper()
	r := &rig{t: t, brokers: enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: partitions}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1})}
	var err error
	if r.client, err = kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *rig) send(records ...*kgo.Record) {
	r.t.Helper()
	if err := r.client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// at is a record of the tenant's, received and written so long after noon.
func at(after time.Duration, partition int32, value string) *kgo.Record {
	return of(tenant, after, partition, value)
}

func of(tenant uuid.UUID, after time.Duration, partition int32, value string) *kgo.Record {
	meta := event.Meta{Tenant: tenant, ReceivedAt: noon.Add(after)}
	return &kgo.Record{Topic: event.TopicEvents, Partition: partition, Value: []byte(value), Headers: meta.Headers(), Timestamp: noon.Add(after)}
}

// history is such a record of the backfill.
func history(after time.Duration, value string) *kgo.Record {
	r := at(after, 0, value)
	r.Topic = event.TopicBackfill
	return r
}

func page(message, device string) string {
	return fmt.Sprintf(`{"message_id":%q,"anonymous_id":%q,"event_type":"page"}`, message, device)
}

func identify(message, rest string) string {
	return fmt.Sprintf(`{"message_id":%q,"event_type":"identify",%s}`, message, rest)
}

func (r *rig) config() Config {
	cfg := DefaultConfig()
	cfg.Brokers, cfg.Tenant = r.brokers, tenant
	cfg.Current, cfg.New = event.DefaultSettings(), event.DefaultSettings()
	return cfg
}

func (r *rig) run(change func(*Config)) *Report {
	r.t.Helper()
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	report, err := Run(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// groups are the consumer groups the broker knows.
func (r *rig) groups() []string {
	r.t.Helper()
	all, err := kadm.NewClient(r.client).ListGroups(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return all.Groups()
}
