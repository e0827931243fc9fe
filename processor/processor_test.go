package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

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
	deadline := time.Now().Add(30 * time.Second)
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
