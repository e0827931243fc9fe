package produce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/ingest/spool"
	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest/kafka"
	"github.com/keystone-cdp/keystone/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	topic      = event.TopicEvents
	partitions = 4
	patience   = 2 * time.Minute
)

// broker is a log that can be stopped and started again on the same port with the same data: a kfake,
// or a Kafka of the test's own.
type broker struct {
	t    *testing.T
	port int
	dir  string
	*kfake.Cluster
	kafka   *kafka.Server // nil: the kfake
	laidOut bool          // the Kafka has the topic
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	if enginetest.OnKafka(t) {
		return &broker{t: t, kafka: enginetest.OwnKafka(t)}
	}
	return newFake(t)
}

// newFake is for faults that Kafka cannot be asked for.
func newFake(t *testing.T) *broker {
	t.Helper()
	enginetest.KfakeOnly(t, "it injects faults")
	port, err := embedded.FreePort() // one of the kernel's choice may be somebody else's by the time of start
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, port: port, dir: t.TempDir()}
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() *broker {
	b.t.Helper()
	if b.kafka != nil {
		b.startKafka()
		return b
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir), kfake.SeedTopics(partitions, topic))
	if err != nil {
		b.t.Fatal(err)
	}
	b.Cluster = c
	return b
}

func (b *broker) startKafka() {
	b.t.Helper()
	if err := b.kafka.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if !b.laidOut {
		enginetest.CreateTopics(b.t, b.seeds(), enginetest.Topic{Name: topic, Partitions: partitions})
		b.laidOut = true
	}
}

func (b *broker) stop() {
	b.t.Helper()
	if b.kafka != nil {
		if err := b.kafka.Stop(context.Background()); err != nil {
			b.t.Error(err)
		}
	}
	if b.Cluster != nil {
		b.Close()
		b.Cluster = nil
	}
}

// hold makes the log take what is produced next and not answer until release is called.
func (b *broker) hold() (release func()) {
	b.t.Helper()
	if b.kafka != nil {
		release, err := b.kafka.Hold(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		return release
	}
	released := make(chan struct{})
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.SleepControl(func() { <-released })
		return nil, nil, false
	})
	return func() { close(released) }
}

// refuse makes the topic take no larger batches than these.
func (b *broker) refuse(bytes string) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.seeds()...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	set := []kadm.AlterConfig{{Name: "max.message.bytes", Value: &bytes}}
	if _, err := kadm.NewClient(client).AlterTopicConfigs(b.t.Context(), set, topic); err != nil {
		b.t.Fatal(err)
	}
}

// noise is text that no compression makes small.
func noise(bytes int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, bytes)
	for i := range text {
		text[i] = byte(' ' + rng.IntN(95))
	}
	return string(text)
}

func (b *broker) seeds() []string {
	if b.kafka != nil {
		return b.kafka.Addrs()
	}
	return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))}
}

// read returns the log's records, until there are at least n different values.
func (b *broker) read(n int) []*kgo.Record {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.seeds()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var out []*kgo.Record
	values := map[string]bool{}
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			b.t.Fatalf("%d of %d values: %v", len(values), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out = append(out, r)
			values[string(r.Value)] = true
		})
	}
	return out
}

// all is the values of the records that tests count.
func all(records []*kgo.Record) (out []string) {
	for _, r := range records {
		if string(r.Value) != "warm" {
			out = append(out, string(r.Value))
		}
	}
	return out
}

// first is the values in log order, each at its first occurrence: what counts in effect.
func first(records []*kgo.Record) (out []string) {
	seen := map[string]bool{}
	for _, r := range records {
		if v := string(r.Value); !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

func config(b *broker) Config {
	c := DefaultConfig()
	c.Brokers = b.seeds()
	c.AckWithin, c.RetryAfter = 300*time.Millisecond, 20*time.Millisecond
	return c
}

func newLane(t *testing.T, cfg Config, fs spool.FS) (*Lane, *spool.Spool) {
	t.Helper()
	sc := spool.DefaultConfig()
	sc.Dir, sc.Name = t.TempDir(), "live"
	sc.RetryAfter, sc.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	sp, err := spool.Open(sc, fs, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLane(cfg, topic, sp, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := errors.Join(l.Stop(ctx), l.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	return l, sp
}

func record(key, value string) []*kgo.Record {
	return []*kgo.Record{{Key: []byte(key), Value: []byte(value), Timestamp: time.Now()}}
}

func send(l *Lane, key, value string) Outcome { return l.Wait(l.Submit(record(key, value))) }

// sendStraight wants the record to be handed to the log. That the log answers in time as well is nobody's
// promise: a machine that stands still for a moment is not told from a log that does.
func sendStraight(t *testing.T, l *Lane, key, value string) {
	t.Helper()
	ticket := l.Submit(record(key, value))
	if ticket.group == nil {
		t.Errorf("%s waits in front of a log that answers", value)
	}
	if o := l.Wait(ticket); o.Err != nil {
		t.Errorf("%s: %+v", value, o)
	}
}

// sendAside wants the record to go to the spool at once, without a wait for the log, and answers what became of it.
func sendAside(t *testing.T, l *Lane, key, value string) Outcome {
	t.Helper()
	ticket := l.Submit(record(key, value))
	if ticket.group != nil {
		t.Errorf("%s waits for a log that is known to be silent", value)
	}
	return l.Wait(ticket)
}

// warm waits until records go straight to the log.
func warm(t *testing.T, l *Lane) {
	t.Helper()
	until(t, "records go to the log", func() bool { return len(send(l, "warm", "warm").Logged) == 1 })
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// The vectors are those of the Java client's own test.
func TestPartitionsAreTheJavaClients(t *testing.T) {
	b := newBroker(t).start()
	cfg := config(b)
	cfg.AckWithin = patience
	l, _ := newLane(t, cfg, spool.OS())
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		o := send(l, key, "v")
		if o.Err != nil || len(o.Logged) != 1 {
			t.Fatalf("%+v", o)
		}
		if want := (hash & 0x7fffffff) % partitions; o.Logged[0].Partition != want {
			t.Errorf("%s is in partition %d, the Java client's is %d", key, o.Logged[0].Partition, want)
		}
	}
}

func TestGroupCommit(t *testing.T) {
	b := newFake(t).start()
	var requests atomic.Int64
	release := make(chan struct{})
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if requests.Add(1) == 2 {
			b.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	cfg := config(b)
	cfg.AckWithin = patience
	l, _ := newLane(t, cfg, spool.OS())
	warm(t, l)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if o := send(l, fmt.Sprint(i), fmt.Sprint(i)); len(o.Logged) != 1 || o.Retained {
				t.Errorf("%+v", o)
			}
		})
		if i == 0 {
			until(t, "the first is under way", func() bool { return requests.Load() == 2 })
		}
	}
	until(t, "99 have gathered", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.gather.records) == 99
	})
	close(release)
	wg.Wait()
	if n := requests.Load(); n > 4 {
		t.Errorf("%d produce requests for 100 records that came while one was under way", n)
	}
}

// Whoever writes alone waits for nobody; after a group of ten, nine wait for the tenth.
func TestGroupsKeepCompany(t *testing.T) {
	b := newBroker(t).start()
	cfg := config(b)
	cfg.AckWithin, cfg.Pace = 2*patience, patience
	l, _ := newLane(t, cfg, spool.OS())
	warm(t, l)
	for range 3 {
		sendStraight(t, l, "alone", "alone")
	}
	gathered := func() (n, wanted int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.gather.records), l.wake
	}
	var together []*kgo.Record
	for i := range 10 {
		together = append(together, record(fmt.Sprint(i), "together")...)
	}
	if o := l.Wait(l.Submit(together)); len(o.Logged) != len(together) {
		t.Fatalf("%+v", o)
	}
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() { sendStraight(t, l, fmt.Sprint(i), "one of ten") })
	}
	until(t, "nine wait for a tenth", func() bool { n, wanted := gathered(); return n == 9 && wanted == 10 })
	sendStraight(t, l, "9", "the tenth")
	wg.Wait()
}

// A smaller group than the one before it goes when the time has come.
func TestGroupsArePaced(t *testing.T) {
	b := newBroker(t).start()
	cfg := config(b)
	cfg.AckWithin, cfg.Pace = patience, 200*time.Millisecond
	l, _ := newLane(t, cfg, spool.OS())
	warm(t, l)
	begin := time.Now()
	if o := l.Wait(l.Submit(append(record("a", "a"), record("b", "b")...))); len(o.Logged) != 2 {
		t.Fatalf("%+v", o)
	}
	sendStraight(t, l, "c", "c")
	if took := time.Since(begin); took < cfg.Pace {
		t.Errorf("one record left %s after two, earlier than %s", took, cfg.Pace)
	}
}

func TestBrokerThatStartsLater(t *testing.T) {
	b := newBroker(t)
	l, sp := newLane(t, config(b), spool.OS())
	begin := time.Now()
	if o := send(l, "k", "0"); o.Err != nil || o.Spooled != 1 || !o.Retained || o.Doubtful {
		t.Fatalf("%+v", o)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("the first waited %s only", took)
	}
	for i := 1; i < 50; i++ { // only the first may wait for the log
		if o := sendAside(t, l, "k", fmt.Sprint(i)); o.Err != nil || o.Spooled != 1 || o.Retained {
			t.Fatalf("%+v", o)
		}
	}
	if err := l.Ready(); err != nil {
		t.Errorf("a lane that spools is ready: %v", err)
	}
	b.start()
	until(t, "the spool is empty", func() bool { return sp.Pending() == 0 })
	until(t, "records go to the log again", l.direct)
	sendStraight(t, l, "k", "50")
	for i, v := range first(b.read(51)) {
		if v != fmt.Sprint(i) {
			t.Fatalf("value %d is %s", i, v)
		}
	}
}

// One client per key sends one after the other while the broker goes down and up: nothing is lost
// and each key's order holds.
func TestBrokerDownAndUp(t *testing.T) {
	b := newBroker(t).start()
	l, sp := newLane(t, config(b), spool.OS())
	const keys, each = 8, 150
	var sent atomic.Int64
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			for i := range each {
				if o := send(l, fmt.Sprint(k), fmt.Sprintf("%d/%03d", k, i)); o.Err != nil {
					t.Errorf("%+v", o)
				}
				sent.Add(1)
				time.Sleep(time.Millisecond) // spreads the load over the outage; nothing depends on it
			}
		})
	}
	until(t, "a quarter is sent", func() bool { return sent.Load() > keys*each/4 })
	b.stop()
	until(t, "half is sent", func() bool { return sent.Load() > keys*each/2 })
	b.start()
	wg.Wait()
	until(t, "the spool is empty", func() bool { return sp.Pending() == 0 })
	next := map[string]int{}
	for _, v := range first(b.read(keys * each)) {
		key, i, _ := strings.Cut(v, "/")
		if n, _ := strconv.Atoi(i); n != next[key] {
			t.Fatalf("key %s: %d came when %d was due", key, n, next[key])
		}
		next[key]++
	}
	if testutil.ToFloat64(l.metrics.spooled) == 0 {
		t.Error("the outage went unnoticed: the test shows nothing")
	}
}

// The log takes less than the lane believes: what it refuses is told, and the rest goes on.
func TestRefusedForGood(t *testing.T) {
	b := newBroker(t).start()
	cfg := config(b)
	cfg.AckWithin = patience
	l, sp := newLane(t, cfg, spool.OS())
	warm(t, l)
	if o := send(l, "k", noise(900<<10)); len(o.Logged) != 1 {
		t.Errorf("the largest event: %v, %d refused", o.Err, len(o.Refused))
	}
	b.refuse("1000")
	if o := send(l, "k", noise(900<<10)); o.Err != nil || len(o.Refused) != 1 || len(o.Logged) != 0 {
		t.Errorf("%v, %d refused", o.Err, len(o.Refused))
	}
	if o := send(l, "k", strings.Repeat("x", 2<<20)); len(o.Refused) != 1 {
		t.Errorf("larger than a batch: %+v", o)
	}
	if o := send(l, "k", "2"); len(o.Logged) != 1 || sp.Pending() != 0 {
		t.Errorf("the lane must go on: %+v", o)
	}
}

func TestDeliveredTellsOffsets(t *testing.T) {
	b := newBroker(t)
	sc := spool.DefaultConfig()
	sc.Dir = t.TempDir()
	sp, err := spool.Open(sc, spool.OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLane(config(b), topic, sp, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var offsets sync.Map
	l.Delivered = func(records []*kgo.Record) {
		for _, r := range records {
			offsets.Store(string(r.Value), [2]int64{int64(r.Partition), r.Offset})
		}
	}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Stop(t.Context()) }()
	for i := range 20 {
		send(l, fmt.Sprint(i), fmt.Sprint(i))
	}
	b.start()
	until(t, "the spool is empty", func() bool { return sp.Pending() == 0 })
	where := map[[2]int64]string{}
	for _, r := range b.read(20) {
		where[[2]int64{int64(r.Partition), r.Offset}] = string(r.Value)
	}
	for i := range 20 {
		at, ok := offsets.Load(fmt.Sprint(i))
		if !ok || where[at.([2]int64)] != fmt.Sprint(i) {
			t.Errorf("record %d: told %v, there is %q", i, at, where[at.([2]int64)])
		}
	}
}

func TestStopLeavesTheRestInTheSpool(t *testing.T) {
	b := newBroker(t)
	dir := t.TempDir()
	sc := spool.DefaultConfig()
	sc.Dir = dir
	sp, err := spool.Open(sc, spool.OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLane(config(b), topic, sp, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		send(l, "k", fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if o := send(l, "k", "late"); o.Err == nil {
		t.Error("a stopped lane took a record")
	}
	sp, err = spool.Open(sc, spool.OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sp.Stop(t.Context()) }()
	if sp.Pending() != 5 {
		t.Errorf("%d records are in the spool", sp.Pending())
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	err := Config{}.Validate()
	for _, rule := range []string{"brokers", "ack_within", "pace", "group_records"} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
