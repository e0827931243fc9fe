package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func newProcessor(t *testing.T, dsn string, brokers []string) *Processor {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DSN, cfg.Brokers = dsn, brokers
	p, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// patience bounds every wait of the tests.
const patience = 2 * time.Minute

// The whole role: started on an empty log, it processes what comes, stops in time, and leaves nothing
// running.
func TestProcessor(t *testing.T) {
	dsn := enginetest.Store(t)
	brokers := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 2}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 1}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	before := newProcessor(t, dsn, brokers)
	if err := before.Start(t.Context()); !errors.Is(err, sql.ErrSchema) {
		t.Errorf("started on an empty state store: %v", err)
	}
	if err := before.Ready(t.Context()); err == nil {
		t.Error("ready without having started")
	}
	if err := before.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := sql.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool, err := sql.Open(t.Context(), dsn, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	plane := control.New(pool)
	tenant, err := plane.CreateTenant(t.Context(), "shop", "")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	leak := goleak.IgnoreCurrent()
	p := newProcessor(t, dsn, brokers)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const events = 200
	for i := range events {
		meta := event.Meta{Tenant: tenant.ID, ReceivedAt: time.Now()}
		client.Produce(t.Context(), &kgo.Record{Topic: event.TopicEvents, Key: fmt.Append(nil, i%9), Headers: meta.Headers(),
			Value: fmt.Appendf(nil, `{"anonymous_id":"d%d","event_type":"page"}`, i%9)}, nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for done := int64(0); done < events; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events processed", done, events)
		}
		offsets, err := plane.Offsets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done = 0
		for _, o := range offsets {
			done += o.Next
		}
		time.Sleep(5 * time.Millisecond) // polling, with a deadline
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 {
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if p.Err() != nil {
		t.Error(p.Err())
	}
	const conn = "github.com/twmb/franz-go/pkg/kfake.(*clientConn)" // of the broker, in this process
	goleak.VerifyNone(t, leak, goleak.IgnoreAnyFunction(conn+".read"), goleak.IgnoreAnyFunction(conn+".read.func1"), goleak.IgnoreAnyFunction(conn+".write"))
}

// The store's password is changed while it runs, and the file of it is first empty, then old, then right: the
// processor waits, gives no event up, and goes on.
func TestPasswordIsChangedMeanwhile(t *testing.T) {
	s := enginetest.NewSecureStore(t, "first")
	cert, key := s.Issue("processor")
	password := filepath.Join(t.TempDir(), "password")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(password, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	dsn := s.DSN + "?" + url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CA}, "sslcert": {cert}, "sslkey": {key}, "password_file": {password}}.Encode()
	if err := sql.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	brokers := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 1}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 1}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	pool, err := sql.Open(t.Context(), dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	tenant, err := control.New(pool).CreateTenant(t.Context(), "shop", "")
	pool.Close()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func() {
		t.Helper()
		meta := event.Meta{Tenant: tenant.ID, ReceivedAt: time.Now()}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: event.TopicEvents, Headers: meta.Headers(), Value: []byte(`{"anonymous_id":"d","event_type":"page"}`)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	put("guess")
	if err := newProcessor(t, dsn, brokers).Start(t.Context()); !sql.Refused(err) {
		t.Errorf("started with a wrong password: %v", err)
	}
	put("first")
	cfg, reg := DefaultConfig(), prometheus.NewRegistry()
	cfg.DSN, cfg.Brokers, cfg.Consume.RetryMax = dsn, brokers, 50*time.Millisecond
	p, err := New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	reaches := func(name string, n float64) {
		t.Helper()
		for deadline := time.Now().Add(patience); metric.Sum(t, reg, name) < n; time.Sleep(5 * time.Millisecond) { // polling
			if p.Err() != nil || time.Now().After(deadline) {
				t.Fatalf("%s is %v, not %v: %v", name, metric.Sum(t, reg, name), n, p.Err())
			}
		}
	}
	const records, retries = "keystone_processor_records_total", "keystone_processor_retries_total"
	send()
	reaches(records, 1)
	s.SetPassword("second")
	put("")
	s.Disconnect()
	send()
	reaches(retries, metric.Sum(t, reg, retries)+8) // more than a record that is to blame is given
	put("first")
	reaches(retries, metric.Sum(t, reg, retries)+2)
	put("second")
	reaches(records, 2)
	if dead := metric.Sum(t, reg, "keystone_processor_dead_letters_total"); dead != 0 {
		t.Errorf("%v events were given up", dead)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	if err := (Config{}).Validate(); err == nil {
		t.Error("an empty configuration is valid")
	}
	cfg := DefaultConfig()
	cfg.DSN, cfg.Brokers = "postgres://x", []string{"y"}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
