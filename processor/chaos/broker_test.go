package chaos_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
)

const (
	brokers          = 3
	changePartitions = 3
)

// faultyBroker is a log that answers with errors and goes away.
type faultyBroker struct {
	*kfake.Cluster
	gate gate
	on   atomic.Bool // faults at random

	mu     sync.Mutex // guards rng
	rng    *rand.Rand
	random map[class]*kfake.FaultHandle
}

func startBroker(t *testing.T, seed uint64, rate float64) *faultyBroker {
	t.Helper()
	b := &faultyBroker{rng: rand.New(rand.NewPCG(seed, 2)), gate: gate{conns: map[net.Conn]struct{}{}}}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.ListenFn(b.gate.listen), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	b.Cluster = cluster
	t.Cleanup(cluster.Close)
	client := b.client(t)
	defer client.Close()
	for topic, n := range map[string]int{event.TopicEvents: partitions(event.TopicEvents), event.TopicBackfill: partitions(event.TopicBackfill),
		event.TopicChanges: changePartitions, event.TopicDLQ: 1} {
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), int32(n), 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	// Rare, for each stops a partition for a second or more: so long does the client wait before it tries again.
	b.random = map[class]*kfake.FaultHandle{
		produceLeader:  b.Fault(b.produce(kerr.NotLeaderForPartition, 0.0005*rate)),
		produceTimeout: b.Fault(b.produce(kerr.RequestTimedOut, 0.001*rate), b.produce(kerr.NotEnoughReplicasAfterAppend, 0.001*rate)),
		produceRefused: b.Fault(b.produce(kerr.UnknownServerError, 0.001*rate)),
		fetchFailed:    b.Fault(b.sometimes(kerr.NotLeaderForPartition, 0.002*rate, kmsg.Fetch), b.sometimes(kerr.KafkaStorageError, 0.002*rate, kmsg.Fetch)),
		listFailed:     b.Fault(b.sometimes(kerr.NotLeaderForPartition, 0.05*rate, kmsg.ListOffsets)),
		coordinatorGone: b.Fault(
			b.group(kerr.NotCoordinator, 0.02*rate, kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup),
			b.group(kerr.CoordinatorLoadInProgress, 0.02*rate, kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup),
			b.group(kerr.CoordinatorNotAvailable, 0.05*rate, kmsg.FindCoordinator),
			b.sometimes(kerr.CoordinatorLoadInProgress, 0.05*rate, kmsg.InitProducerID)),
		commitFailed: b.Fault(
			b.group(kerr.NotCoordinator, 0.03*rate, kmsg.OffsetCommit),
			b.group(kerr.RequestTimedOut, 0.03*rate, kmsg.OffsetCommit),
			b.group(kerr.RebalanceInProgress, 0.03*rate, kmsg.OffsetCommit)),
	}
	return b
}

func (b *faultyBroker) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (b *faultyBroker) sometimes(err *kerr.Error, p float64, keys ...kmsg.Key) kfake.Fault {
	return kfake.Fault{Keys: keys, Err: err, Count: -1, When: func(kmsg.Request) bool {
		if !b.on.Load() {
			return false
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.rng.Float64() < p
	}}
}

func (b *faultyBroker) produce(err *kerr.Error, p float64) kfake.Fault {
	f := b.sometimes(err, p, kmsg.Produce)
	f.Topic = event.TopicChanges
	return f
}

func (b *faultyBroker) group(err *kerr.Error, p float64, keys ...kmsg.Key) kfake.Fault {
	f := b.sometimes(err, p, keys...)
	f.Group = consume.DefaultConfig().Group
	return f
}

// forget makes the group say to the next member that gives a sign of life that it is none.
func (b *faultyBroker) forget() {
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: consume.DefaultConfig().Group, Err: kerr.UnknownMemberID})
}

// fill writes the log, partition by partition, in its order.
func (b *faultyBroker) fill(t *testing.T, log map[lane][]entry) {
	t.Helper()
	client := b.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	defer client.Close()
	var failed kgo.FirstErrPromise
	for _, l := range lanes {
		for i := range log[l] {
			client.Produce(t.Context(), log[l][i].record(l), failed.Promise())
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := failed.Err(); err != nil {
		t.Fatal(err)
	}
}

// gate lets connections to the broker through, or does not.
type gate struct {
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func (g *gate) listen(network, address string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	return &gatedListener{ln, g}, err
}

// cut ends all connections.
func (g *gate) cut() {
	g.mu.Lock()
	conns := g.conns
	g.conns = map[net.Conn]struct{}{}
	g.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

func (g *gate) setDown(down bool) {
	g.mu.Lock()
	g.down = down
	g.mu.Unlock()
	if down {
		g.cut()
	}
}

type gatedListener struct {
	net.Listener
	*gate
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		down := l.down
		if !down {
			l.conns[c] = struct{}{}
		}
		l.mu.Unlock()
		if !down {
			return c, nil
		}
		_ = c.Close()
	}
}

// readAll is all of a topic, partition by partition in their order.
func (b *faultyBroker) readAll(t *testing.T, topic string) map[int32][]*kgo.Record {
	t.Helper()
	client := b.client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{} // records to come, by partition
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	all := map[int32][]*kgo.Record{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %s: %v to come: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(len(all[r.Partition])) {
				t.Fatalf("read %s/%d: record %d comes as the %d-th", topic, r.Partition, r.Offset, len(all[r.Partition]))
			}
			all[r.Partition] = append(all[r.Partition], r)
			if left[r.Partition]--; left[r.Partition] == 0 {
				delete(left, r.Partition)
			}
		})
	}
	return all
}
