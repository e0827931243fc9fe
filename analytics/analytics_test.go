package analytics

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// The role, from its configuration to a row, and away again.
func TestRole(t *testing.T) {
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	enginetest.Broker(t) // a shared one runs on
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // the broker has ended by then
	brokers := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 1},
		enginetest.Topic{Name: event.TopicBackfill, Partitions: 1}, enginetest.Topic{Name: event.TopicChanges, Partitions: 1})
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)

	cfg := DefaultConfig()
	cfg.ClickHouseDSN, cfg.Sink.Brokers = db.NativeDSN, brokers
	registry := prometheus.NewRegistry()
	role, err := New(cfg, slog.New(slog.DiscardHandler), registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := role.Ready(ctx); err == nil {
		t.Error("ready before it was started")
	}
	if err := role.Start(ctx); err != nil {
		t.Fatal(err)
	}
	meta := event.Meta{Tenant: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), ReceivedAt: time.Now()}
	if err := producer.ProduceSync(ctx, &kgo.Record{
		Topic: event.TopicEvents, Value: []byte(`{"message_id":"m1","anonymous_id":"d","event_type":"page"}`), Headers: meta.Headers(),
	}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	conn, err := query.Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	for done := false; !done; time.Sleep(5 * time.Millisecond) {
		all, err := query.Positions(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		done = len(all) == 1 && all[0] == query.Position{Topic: event.TopicEvents, NextOffset: 1}
	}
	if err := role.Ready(ctx); err != nil {
		t.Errorf("ready: %v", err)
	}
	if err := role.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := role.Stop(ctx); err != nil {
		t.Errorf("stop again: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) == 0 {
		t.Errorf("metrics: %v", err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "keystone_sink_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
}

func TestConfigListsEveryBrokenRule(t *testing.T) {
	if err := DefaultConfig().Validate(); err == nil {
		t.Error("neither a DSN nor brokers are needed")
	}
	var cfg Config
	cfg.Sink.MinFlush = 2
	err := cfg.Validate()
	for _, rule := range []string{
		"clickhouse_dsn", "clickhouse_conns", "brokers", "group", "batch_rows", "batch_bytes", "small_inserts", "buffer_bytes", "fetch_bytes",
		"seen_messages", "limits.event_bytes", "limits.depth", "session_timeout", "max_flush", "insert_timeout", "position_interval", "seen_window", "min_flush",
	} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not said: %v", rule, err)
		}
	}
	if _, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("New took it")
	}
}
