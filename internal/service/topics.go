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
	for _, topic := range []struct {
		name       string
		partitions int32
	}{
		{event.TopicEvents, t.Events}, {event.TopicBackfill, t.Backfill},
		{event.TopicChanges, t.Changes}, {event.TopicDLQ, 1},
	} {
		_, err := admin.CreateTopic(ctx, topic.partitions, t.Replication, nil, topic.name)
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
