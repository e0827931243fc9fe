package service

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CommitOffsets tells the client's group where partitions are, for tools that look at lag, and waits
// for the answer: ctx must last until then, or nothing is told. A group that moves partitions refuses
// them one by one, in an answer that is no error as a whole.
func CommitOffsets(ctx context.Context, client *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) (failed error) {
	client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = fmt.Errorf("commit offsets: %w", err)
			return
		}
		if answer == nil {
			return // there was nothing to commit
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = fmt.Errorf("commit offset of %s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	})
	return failed
}
