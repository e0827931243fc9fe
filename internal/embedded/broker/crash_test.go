package broker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const folderVariable = "KEYSTONE_TEST_BROKER"

// TestHelperBroker is the process that others run and kill.
func TestHelperBroker(t *testing.T) {
	if !enginetest.IsRerun() {
		t.Skip("run by other tests")
	}
	b, err := broker.New(config(os.Getenv(folderVariable)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	enginetest.Say(strings.Join(b.Addrs(), ","))
	select {} // until killed
}

// runOther starts a broker in another process.
func runOther(t *testing.T, dir string) (*enginetest.Process, []string) {
	t.Helper()
	other := enginetest.Rerun(t, "TestHelperBroker", nil, filepath.Dir(dir), folderVariable+"="+dir)
	return other, strings.Split(other.Line(t), ",")
}

// A producer that outlives its broker goes on without loss or repetition, after
// a clean stop, which writes the broker's memory of its batches down, as after
// a kill, which does not.
func TestKilledBrokerLosesNothing(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "broker"))
	clean := start(t, cfg)
	seeds := clean.Addrs()
	enginetest.CreateTopics(t, seeds, enginetest.Topic{Name: topic, Partitions: 1})
	producer := client(t, seeds)
	produce(t, producer, 0, 10)
	stop(t, clean)

	for round := 1; round <= 2; round++ {
		other, addrs := runOther(t, cfg.DataDir)
		if addrs[0] != seeds[0] {
			t.Fatalf("address %s, then %s", seeds[0], addrs[0])
		}
		produce(t, producer, 10*round, 10*round+10)
		commit(t, seeds, int64(10*round))
		other.Kill()
	}
	start(t, cfg)
	wantCommitted(t, seeds, 20)
	produce(t, producer, 30, 40)
	produce(t, client(t, seeds), 40, 50)
	wantNumbers(t, seeds, 50)
}
