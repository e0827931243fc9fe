package feed

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Everything good is in the log once per delivery, with the edge's headers, a device's events in one
// partition and in their order.
func TestFill(t *testing.T) {
	seeds := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 4})
	tenant, cfg := uuid.New(), shop.DefaultConfig()
	cfg.Events, cfg.Invalid = 2_000, 0.02
	log, err := Fill(t.Context(), seeds, event.TopicEvents, tenant, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if log.Records != log.Truth.Delivered() || log.Truth.Invalid == 0 || log.Bytes < 300*log.Records {
		t.Errorf("%+v", log)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(event.TopicEvents))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	partition, last := map[string]int32{}, map[string]time.Time{}
	for n := 0; n < log.Records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			meta, err := event.ReadMeta(r.Headers)
			if err != nil || meta.Tenant != tenant {
				t.Fatalf("%+v, %v", meta, err)
			}
			key := string(r.Key)
			if p, ok := partition[key]; ok && p != r.Partition {
				t.Errorf("one key is in partitions %d and %d", p, r.Partition)
			}
			if !meta.ReceivedAt.After(last[key]) {
				t.Errorf("received_at goes back")
			}
			partition[key], last[key] = r.Partition, meta.ReceivedAt
		})
	}
}
