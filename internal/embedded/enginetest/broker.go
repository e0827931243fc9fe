package enginetest

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/broker"
)

// Topic is a topic a test wants.
type Topic struct {
	Name       string
	Partitions int
}

// Broker gives the test a broker of its own with the topics, its log in memory,
// and returns its seeds. It ends with the test.
func Broker(tb testing.TB, topics ...Topic) []string {
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
	CreateTopics(tb, b.Addrs(), topics...)
	return b.Addrs()
}

// CreateTopics makes topics, each on one replica.
func CreateTopics(tb testing.TB, seeds []string, topics ...Topic) {
	tb.Helper()
	if len(topics) == 0 {
		return
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
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
}
