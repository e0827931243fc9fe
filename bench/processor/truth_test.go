package processor_test

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystone-cdp/keystone/bench/feed"
	"github.com/keystone-cdp/keystone/bench/metric"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

// What the processor makes of a shop's traffic, on several partitions at once, is what the shop's own
// books say.
func TestTheStoreHoldsTheTruth(t *testing.T) {
	dsn := enginetest.Store(t)
	if err := sql.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool, err := sql.Open(t.Context(), dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	tenant, err := control.New(pool).CreateTenant(t.Context(), "shop", "Shop")
	if err != nil {
		t.Fatal(err)
	}
	seeds := enginetest.Broker(t,
		enginetest.Topic{Name: event.TopicEvents, Partitions: 3}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: 1}, enginetest.Topic{Name: event.TopicDLQ, Partitions: 1})
	cfg := shop.DefaultConfig()
	cfg.Events, cfg.Invalid, cfg.Mix.Duplicate, cfg.Mix.Shared = 2_000, 0.01, 0.05, 0.1
	log, err := feed.Fill(t.Context(), seeds, event.TopicEvents, tenant.ID, cfg)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	p := newProcessor(t, dsn, seeds, reg)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return metric.Sum(t, reg, "keystone_processor_records_total") == float64(log.Records) })
	if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	states, err := store.New(store.DefaultConfig(), pool)
	if err != nil {
		t.Fatal(err)
	}
	got := figures(t, states, tenant.ID)
	if want := log.Truth.Figures(); !maps.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if log.Truth.SharedDevices == 0 || log.Truth.Duplicates == 0 {
		t.Errorf("the traffic lacks what makes it hard: %+v", log.Truth)
	}
}

// figures asks the state store for what shop.Truth.Figures foretells.
func figures(t *testing.T, s *store.Store, tenant uuid.UUID) map[string]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := map[string]int64{}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for p, err := range s.Profiles(ctx, tenant, false) {
		check(err)
		got["messages"] += p.EventCount
		got[map[string]string{"anchor": "people", "shadow": "shadows"}[p.Kind]]++
	}
	for m, err := range s.Merges(ctx, tenant) {
		check(err)
		if m.Kind == "collapse" {
			got["collapses"]++
		}
	}
	for _, err := range s.Products(ctx, tenant) {
		check(err)
		got["products"]++
	}
	for o, err := range s.Orders(ctx, tenant) {
		check(err)
		got["orders."+o.Status]++
		if o.Status == shop.StatusCompleted {
			got["revenue."+o.Currency] += hundredths(string(o.Total))
		}
	}
	for c, err := range s.Conflicts(ctx, tenant) {
		check(err)
		t.Errorf("a conflict: %s", c.Reason)
	}
	return got
}

// hundredths reads exact decimal text.
func hundredths(text string) (n int64) {
	whole, fraction, _ := strings.Cut(text, ".")
	for _, digit := range whole + (fraction + "00")[:2] {
		n = n*10 + int64(digit-'0')
	}
	return n
}
