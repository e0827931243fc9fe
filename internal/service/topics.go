package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"

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
const changeBytes = 16 << 20

// eventBytes is the broker's default, which every record of the edge fits.
const eventBytes = 1 << 20

// DefaultTopics is for one small machine.
func DefaultTopics() Topics { return Topics{Events: 4, Backfill: 2, Changes: 2, Replication: -1} }

// Topic is how one topic is to be laid out.
type Topic struct {
	Name        string
	Partitions  int32
	RecordBytes int  // the least its max.message.bytes may be
	large       bool // beyond the broker's default, so that it is set
}

func (t Topic) configs() map[string]*string {
	if !t.large {
		return nil
	}
	return map[string]*string{"max.message.bytes": kadm.StringPtr(strconv.Itoa(t.RecordBytes))}
}

// Layout is all the topics, in the order of the flow.
func (t Topics) Layout() []Topic {
	return []Topic{
		{event.TopicEvents, t.Events, eventBytes, false},
		{event.TopicBackfill, t.Backfill, eventBytes, false},
		{event.TopicChanges, t.Changes, changeBytes, true},
		{event.TopicDLQ, 1, changeBytes, true},
	}
}

// Ensure creates the topics that are missing, and leaves the others as they are. It returns an
// error when an existing topic has another number of partitions.
func (t Topics) Ensure(ctx context.Context, brokers []string, access ...kgo.Opt) error {
	client, err := kgo.NewClient(append(access, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, topic := range t.Layout() {
		_, err := admin.CreateTopic(ctx, topic.Partitions, t.Replication, topic.configs(), topic.Name)
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists):
			details, err := admin.ListTopics(ctx, topic.Name)
			if err != nil {
				return fmt.Errorf("list topic %s: %w", topic.Name, err)
			}
			if have := len(details[topic.Name].Partitions); have != int(topic.Partitions) {
				return fmt.Errorf("topic %s has %d partitions, not %d: their number cannot change", topic.Name, have, topic.Partitions)
			}
		case err != nil:
			return fmt.Errorf("create topic %s: %w", topic.Name, err)
		}
	}
	return nil
}
