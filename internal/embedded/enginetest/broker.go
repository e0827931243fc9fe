package enginetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/broker"
)

// Topic is a topic a test wants.
type Topic struct {
	Name       string
	Partitions int
}

// Broker gives the test a log of its own with the topics, and returns its
// seeds: a kfake in memory, which ends with the test, or the shared Kafka, of
// which the test has all until it asks again (see OnKafka).
func Broker(tb testing.TB, topics ...Topic) []string {
	tb.Helper()
	var seeds []string
	if OnKafka(tb) {
		seeds = sharedKafka(tb)
	} else {
		seeds = fake(tb)
	}
	CreateTopics(tb, seeds, topics...)
	return seeds
}

func fake(tb testing.TB) []string {
	tb.Helper()
	b, err := broker.New(broker.DefaultConfig())
	if err != nil {
		tb.Fatal(err)
	}
	if err := b.Start(tb.Context()); err != nil {
		tb.Fatalf("start broker: %v", err)
	}
	tb.Cleanup(func() {
		if err := b.Stop(context.Background()); err != nil {
			tb.Errorf("stop broker: %v", err)
		}
	})
	return b.Addrs()
}

// newClient makes a client that asks anew what topics there are. By default one
// believes for seconds what it was told.
func newClient(seeds []string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(leastAge))
}

// leastAge is the least that kgo takes.
const leastAge = 10 * time.Millisecond

// CreateTopics makes topics, each on one replica, and returns when all their
// partitions have leaders: Kafka's broker hears of them after its controller.
func CreateTopics(tb testing.TB, seeds []string, topics ...Topic) {
	tb.Helper()
	if len(topics) == 0 {
		return
	}
	client, err := newClient(seeds)
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, topic := range topics {
		if _, err := admin.CreateTopic(tb.Context(), int32(topic.Partitions), 1, nil, topic.Name); err != nil {
			tb.Fatalf("create topic %s: %v", topic.Name, err)
		}
	}
	for _, topic := range topics {
		waitLed(tb, admin, topic)
	}
}

func waitLed(tb testing.TB, admin *kadm.Client, topic Topic) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	for {
		ends, err := admin.ListEndOffsets(ctx, topic.Name)
		if err == nil && ends.Error() == nil && len(ends[topic.Name]) == topic.Partitions {
			return
		}
		if ctx.Err() != nil {
			tb.Fatalf("topic %s has no leaders: %v", topic.Name, errors.Join(err, ends.Error()))
		}
	}
}
