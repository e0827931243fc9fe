package outbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// memory is an outbox in memory that may be down.
type memory struct {
	mu   sync.Mutex
	left []Left
	down int // failures to come
}

func (m *memory) put(l Left) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = append(m.left, l)
}

func (m *memory) Unpublished(_ context.Context, _ string, _ int32, after int64) ([]Left, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down > 0 {
		m.down--
		return nil, errors.New("down")
	}
	for i, l := range m.left {
		if l.Offset > after {
			return m.left[i:min(i+2, len(m.left))], nil
		}
	}
	return nil, nil
}

func (m *memory) Published(_ context.Context, _ string, _ int32, upTo int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down > 0 {
		m.down--
		return errors.New("down")
	}
	for len(m.left) > 0 && m.left[0].Offset <= upTo {
		m.left = m.left[1:]
	}
	return nil
}

const topic = "changes"

func batch(offset int64) Left {
	var l Left
	l.Offset = offset
	for i := range 5 {
		l.Records = append(l.Records, Record{Topic: topic, Key: []byte("k"), Value: []byte(strconv.FormatInt(offset, 10) + "." + strconv.Itoa(i))})
	}
	return l
}

func newPublisher(t *testing.T, store Store, brokers []string) *Publisher {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := DefaultConfig()
	cfg.RetryMin, cfg.RetryMax = time.Millisecond, 10*time.Millisecond
	p, err := New(cfg, client, store, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// values are what the topic holds, in its order.
func values(t *testing.T, brokers []string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var got []string
	for len(got) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

// A lane produces first what a former owner left, then what it is given, in order, and deletes it.
func TestLane(t *testing.T) {
	brokers := enginetest.Broker(t, enginetest.Topic{Name: topic, Partitions: 1})
	m := &memory{down: 4}
	for _, offset := range []int64{3, 5, 6, 9} {
		m.put(batch(offset))
	}
	l := newPublisher(t, m, brokers).Open("events", 0, 9)
	for offset := int64(10); offset < 14; offset++ {
		b := batch(offset)
		m.put(b)
		if offset == 12 {
			b.Records = nil // the worker does not know them
		}
		if err := l.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := values(t, brokers, 8*5)
	var want []string
	for _, offset := range []int64{3, 5, 6, 9, 10, 11, 12, 13} {
		for _, r := range batch(offset).Records {
			want = append(want, string(r.Value))
		}
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("record %d is %s, not %s: %v", i, got[i], want[i], got)
		}
	}
	if len(m.left) != 0 {
		t.Errorf("%d batches left in the store", len(m.left))
	}
}

// A lane whose log is down keeps what it has: Put waits, Close ends in time, the store has it all.
func TestLaneWithoutLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	m := &memory{}
	p, err := New(DefaultConfig(), client, m, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	l := p.Open("events", 0, 0)
	put := 0
	for offset := int64(1); ; offset++ {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		b := batch(offset)
		m.put(b)
		err := l.Put(ctx, b)
		cancel()
		if err != nil {
			break
		}
		put++
	}
	if put > DefaultConfig().Depth+1 {
		t.Errorf("%d batches were taken in", put)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if len(m.left) != put+1 {
		t.Errorf("%d of %d batches left in the store", len(m.left), put+1)
	}
}
