package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A commit that the group refused for one partition is not taken for done.
func TestRefusedCommitIsTold(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	assigned := make(chan struct{})
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			if len(partitions) > 0 {
				close(assigned)
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	select {
	case <-assigned:
	case <-ctx.Done():
		t.Fatal("no partition was assigned")
	}
	offsets := map[string]map[int32]kgo.EpochOffset{"t": {0: {Epoch: -1, Offset: 7}}}
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		answer := request.ResponseKind().(*kmsg.OffsetCommitResponse)
		topic, partition := kmsg.NewOffsetCommitResponseTopic(), kmsg.NewOffsetCommitResponseTopicPartition()
		topic.Topic, topic.TopicID = request.(*kmsg.OffsetCommitRequest).Topics[0].Topic, request.(*kmsg.OffsetCommitRequest).Topics[0].TopicID
		partition.ErrorCode = kerr.RebalanceInProgress.Code
		topic.Partitions = append(topic.Partitions, partition)
		answer.Topics = append(answer.Topics, topic)
		return answer, nil, true
	})
	if err := CommitOffsets(ctx, client, offsets); !errors.Is(err, kerr.RebalanceInProgress) {
		t.Errorf("refused: %v", err)
	}
	if err := CommitOffsets(ctx, client, offsets); err != nil {
		t.Errorf("taken: %v", err)
	}
}
