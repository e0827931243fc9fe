package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest/kafka"
)

const (
	// logVariable chooses the log of the tests: kfake where it is not set, or kafka.
	logVariable = "KEYSTONE_TEST_LOG"
	// cleanTimeout outlasts a consumer that died without a word (its session).
	cleanTimeout = 2 * time.Minute
	cleanPoll    = 10 * time.Millisecond
)

var kafkaServer once[*kafka.Server]

// OnKafka tells whether the tests are to run on Apache Kafka ("make
// test-kafka") and not on kfake.
func OnKafka(tb testing.TB) bool {
	tb.Helper()
	switch name := os.Getenv(logVariable); name {
	case "", "kfake":
		return false
	case "kafka":
		return true
	default:
		tb.Fatalf("%s is %q: kfake or kafka", logVariable, name)
		return false
	}
}

// KfakeOnly skips a test that needs what only kfake can do, and says what that is.
func KfakeOnly(tb testing.TB, why string) {
	tb.Helper()
	if OnKafka(tb) {
		tb.Skip("on kfake only: " + why)
	}
}

// OwnKafka is a Kafka of the test's own that it starts, stops and starts
// again. It ends with the test.
func OwnKafka(tb testing.TB) *kafka.Server {
	tb.Helper()
	server, err := kafka.New(filepath.Join(Folder(tb), "kafka"))
	Need(tb, err)
	tb.Cleanup(server.Kill)
	return server
}

// sharedKafka is the one Kafka of this test binary, without topics and groups:
// a start for every test would take longer than the tests. Only one test at a
// time can have it, and what a test called before for is gone.
func sharedKafka(tb testing.TB) []string {
	tb.Helper()
	server, err := kafkaServer.get(startKafka)
	Need(tb, err)
	ctx, cancel := context.WithTimeout(tb.Context(), cleanTimeout)
	defer cancel()
	if err := cleanKafka(ctx, server.Addrs()); err != nil {
		tb.Fatalf("clean kafka: %v", err)
	}
	return server.Addrs()
}

func startKafka(ctx context.Context, dir string) (*kafka.Server, func(context.Context) error, error) {
	server, err := kafka.New(filepath.Join(dir, "kafka"))
	if err != nil {
		return nil, nil, err
	}
	return server, server.Stop, server.Start(ctx)
}

// cleanKafka removes all topics and groups, and returns when they are gone.
func cleanKafka(ctx context.Context, seeds []string) error {
	client, err := newClient(seeds)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tick := time.NewTicker(cleanPoll)
	defer tick.Stop()
	for {
		left, err := removeAll(ctx, client, admin)
		if err == nil && left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d topics and groups are left: %w", left, errors.Join(ctx.Err(), err))
		}
	}
}

// removeAll asks for the removal of what is there, and answers how much that was.
func removeAll(ctx context.Context, client *kgo.Client, admin *kadm.Client) (left int, err error) {
	groups, err := admin.DescribeGroups(ctx)
	if err != nil {
		return 0, err
	}
	for _, group := range groups {
		left++
		leave := kmsg.NewPtrLeaveGroupRequest() // a group with members cannot be deleted
		leave.Group = group.Group
		for _, m := range group.Members {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
			leave.Members = append(leave.Members, member)
		}
		if len(leave.Members) > 0 {
			if _, err := leave.RequestWith(ctx, client); err != nil {
				return left, err
			}
		}
		if _, err := admin.DeleteGroup(ctx, group.Group); err != nil && !errors.Is(err, kerr.NonEmptyGroup) && !errors.Is(err, kerr.GroupIDNotFound) {
			return left, err
		}
	}
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return left, err
	}
	left += len(topics)
	if len(topics) > 0 {
		_, err = admin.DeleteTopics(ctx, topics.Names()...)
	}
	return left, err
}
