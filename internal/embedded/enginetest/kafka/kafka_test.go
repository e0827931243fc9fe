package kafka_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest/kafka"
)

const (
	topic          = "events"
	folderVariable = "KEYSTONE_TEST_KAFKA"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// need skips a test where the tests are not to run on Kafka: a machine may have its jars and not the time.
func need(t *testing.T) {
	t.Helper()
	if !enginetest.OnKafka(t) {
		t.Skip("run by \"make test-kafka\"")
	}
}

func produce(t *testing.T, client *kgo.Client, value string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := client.ProduceSync(ctx, kgo.StringRecord(value)).First()
	if err != nil {
		t.Fatal(err)
	}
	return r.Offset
}

// What was acknowledged is there after a kill, at the same address, and the same producer goes on.
func TestKilledKafkaLosesNothing(t *testing.T) {
	need(t)
	server := enginetest.OwnKafka(t)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	enginetest.CreateTopics(t, server.Addrs(), enginetest.Topic{Name: topic, Partitions: 1})
	client, err := kgo.NewClient(kgo.SeedBrokers(server.Addrs()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends := []func(){server.Kill, func() {
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}}
	for offset, end := range ends {
		if got := produce(t, client, "x"); got != int64(offset) {
			t.Errorf("offset %d, want %d", got, offset)
		}
		end()
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := produce(t, client, "x"); got != int64(len(ends)) {
		t.Errorf("offset %d, want %d", got, len(ends))
	}
}

// TestHelperKafka is the process that another test kills.
func TestHelperKafka(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("run by other tests")
	}
	server, err := kafka.New(os.Getenv(folderVariable))
	enginetest.Need(t, err)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	enginetest.Say(server.Pid())
	select {} // until killed
}

func TestKafkaDiesWithItsProcess(t *testing.T) {
	need(t)
	dir := filepath.Join(enginetest.Folder(t), "kafka") // ours, as the other cannot remove it
	other := enginetest.Rerun(t, "TestHelperKafka", nil, "", folderVariable+"="+dir)
	pid, err := strconv.Atoi(strings.TrimSpace(other.Line(t)))
	if err != nil {
		t.Fatal(err)
	}
	other.Kill()
	enginetest.WaitGone(t, pid)
}
