package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Topics says how the topics are laid out. The number of partitions of a topic is for ever: more
// would move keys to other partitions and break the order of what is under way.
type Topics struct {
	Events      int32 // partitions
	Backfill    int32
	Changes     int32
	Replication int16 // -1: the cluster's default
}

// changeBytes bounds a record of the topics the processor writes. One change may carry a profile's
// attributes, an order with thousands of lines and the lineage of both; a dead letter is an event
// with headers around it. Events themselves are bounded by the edge and keep the broker's default.
const changeBytes = "16777216"

// DefaultTopics is for one small machine.
func DefaultTopics() Topics { return Topics{Events: 4, Backfill: 2, Changes: 2, Replication: -1} }

// Ensure creates the topics that are missing, and leaves the others as they are. It returns an
// error when an existing topic has another number of partitions.
func (t Topics) Ensure(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	large := map[string]*string{"max.message.bytes": kadm.StringPtr(changeBytes)}
	for _, topic := range []struct {
		name       string
		partitions int32
		configs    map[string]*string
	}{
		{event.TopicEvents, t.Events, nil},
		{event.TopicBackfill, t.Backfill, nil},
		{event.TopicChanges, t.Changes, large},
		{event.TopicDLQ, 1, large},
	} {
		_, err := admin.CreateTopic(ctx, topic.partitions, t.Replication, topic.configs, topic.name)
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists):
			details, err := admin.ListTopics(ctx, topic.name)
			if err != nil {
				return fmt.Errorf("list topic %s: %w", topic.name, err)
			}
			if have := len(details[topic.name].Partitions); have != int(topic.partitions) {
				return fmt.Errorf("topic %s has %d partitions, not %d: their number cannot change", topic.name, have, topic.partitions)
			}
		case err != nil:
			return fmt.Errorf("create topic %s: %w", topic.name, err)
		}
	}
	return nil
}
