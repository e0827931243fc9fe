package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/broker"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const (
	testTimeout = 2 * time.Minute
	topic       = "events"
	group       = "sink"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func config(dir string) broker.Config {
	cfg := broker.DefaultConfig()
	cfg.DataDir = dir
	return cfg
}

func start(t *testing.T, cfg broker.Config) *broker.Broker {
	t.Helper()
	b, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := b.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t *testing.T, b *broker.Broker) {
	t.Helper()
	if err := b.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// client is idempotent and waits for all acknowledgements, as kgo's default is.
func client(t *testing.T, seeds []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce sends the numbers from..to-1, each acknowledged before the next.
func produce(t *testing.T, c *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		record := kgo.StringRecord(fmt.Sprint(i))
		if err := c.ProduceSync(testContext(t), record).FirstErr(); err != nil {
			t.Fatalf("produce %d: %v", i, err)
		}
	}
}

// wantNumbers consumes the topic from its start and fails unless it holds
// exactly 0..n-1 in this order, in one partition.
func wantNumbers(t *testing.T, seeds []string, n int) {
	t.Helper()
	c := client(t, seeds, kgo.ConsumeTopics(topic))
	next := 0
	for next < n {
		fetches := c.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("consume: %v after %d of %d records", err, next, n)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(next) || r.Offset != int64(next) {
				t.Fatalf("record %q at offset %d, want %d", r.Value, r.Offset, next)
			}
			next++
		})
	}
	ends, err := kadm.NewClient(c).ListEndOffsets(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup(topic, 0); end.Offset != int64(n) {
		t.Errorf("the log ends at %d, want %d", end.Offset, n)
	}
}

func commit(t *testing.T, seeds []string, offset int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, offset, -1)
	if err := kadm.NewClient(client(t, seeds)).CommitAllOffsets(testContext(t), group, offsets); err != nil {
		t.Fatal(err)
	}
}

func wantCommitted(t *testing.T, seeds []string, want int64) {
	t.Helper()
	offsets, err := kadm.NewClient(client(t, seeds)).FetchOffsets(testContext(t), group)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := offsets.Lookup(topic, 0); !ok || got.At != want {
		t.Errorf("committed offset is %d (%t), want %d", got.At, ok, want)
	}
}

func TestLogOffsetsAndProducersSurviveARestart(t *testing.T) {
	for name, sync := range map[string]bool{"page cache": false, "fsync": true} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			cfg.SyncWrites = sync
			first := start(t, cfg)
			addrs := first.Addrs()
			enginetest.CreateTopics(t, addrs, enginetest.Topic{Name: topic, Partitions: 1})
			producer := client(t, addrs)
			produce(t, producer, 0, 20)
			commit(t, addrs, 15)
			stop(t, first)

			second := start(t, cfg)
			if fmt.Sprint(second.Addrs()) != fmt.Sprint(addrs) {
				t.Fatalf("addresses %v, then %v", addrs, second.Addrs())
			}
			produce(t, producer, 20, 30) // the same producer goes on
			produce(t, client(t, addrs), 30, 40)
			wantNumbers(t, addrs, 40)
			wantCommitted(t, addrs, 15)
		})
	}
}

func TestLargestEventFits(t *testing.T) {
	b := start(t, config(t.TempDir()))
	enginetest.CreateTopics(t, b.Addrs(), enginetest.Topic{Name: topic, Partitions: 1})
	value := bytes.Repeat([]byte("0123456789abcdef"), 900<<10/16) // one event
	c := client(t, b.Addrs(), kgo.ProducerBatchMaxBytes(2<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for _, size := range []int{len(value), 1 << 20, 1<<20 + 512<<10} {
		record := &kgo.Record{Value: bytes.Repeat(value, 2)[:size]}
		if err := c.ProduceSync(testContext(t), record).FirstErr(); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	oversized := client(t, b.Addrs(), kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := oversized.ProduceSync(testContext(t), &kgo.Record{Value: make([]byte, 5<<20)}).FirstErr()
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("5 MiB: %v, want it refused", err)
	}
}

func TestSecondBrokerOnTheSameFolderIsRefused(t *testing.T) {
	cfg := config(t.TempDir())
	start(t, cfg)
	second, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(testContext(t))
	if !errors.Is(err, embedded.ErrFolderInUse) || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("second broker: %v, want it refused with the folder's name", err)
	}
}

func TestBusyPortIsNamed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, dir := range map[string]string{"on disk": t.TempDir(), "in memory": ""} {
		cfg := config(dir)
		cfg.Port = listener.Addr().(*net.TCPAddr).Port
		b, err := broker.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(testContext(t)); !errors.Is(err, embedded.ErrPortInUse) || !strings.Contains(err.Error(), fmt.Sprint("port ", cfg.Port)) {
			t.Errorf("%s: %v, want the busy port named", name, err)
		}
	}
}

// kfake would panic on an unknown request key and believe any length.
func TestHostileBytesDoNotEndTheProcess(t *testing.T) {
	b := start(t, config(""))
	address := b.Addrs()[0]
	impatient := http.Client{Timeout: testTimeout}
	if resp, err := impatient.Get("http://" + address); err == nil {
		_ = resp.Body.Close()
		t.Error("the broker answers HTTP")
	} else if os.IsTimeout(err) {
		t.Error("the broker waits for the gigabyte that an HTTP request seems to announce")
	}
	patterns := map[string][]byte{
		"nothing":        {},
		"zeros":          make([]byte, 100),
		"ones":           bytes.Repeat([]byte{0xff}, 100),
		"absurd length":  {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3},
		"unknown key":    {0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 0},
		"cut header":     {0, 0, 0, 20, 0, 3},
		"empty produce":  {0, 0, 0, 4, 0, 0, 0, 9},
		"absurd version": {0, 0, 0, 12, 0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0, 0},
	}
	for key := range byte(93) { // every request, with a body of rubbish
		body := append([]byte{0, 0, 0, 60, 0, key, 0, 4, 0, 0, 0, 1, 0xff, 0xff}, bytes.Repeat([]byte{key, 0x7f, 0xff}, 17)...)
		patterns[fmt.Sprint("rubbish for key ", key)] = body[:64]
	}
	for name, pattern := range patterns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(testTimeout))
		_, _ = conn.Write(pattern)
		_ = conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays", name)
		}
		_ = conn.Close()
	}
	enginetest.CreateTopics(t, b.Addrs(), enginetest.Topic{Name: topic, Partitions: 1})
	produce(t, client(t, b.Addrs()), 0, 1)
}

func TestStopLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	b, err := broker.New(config(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(testContext(t)); err != nil {
			t.Errorf("second start: %v", err)
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(testContext(t)); err != nil {
			t.Error(err)
		}
		c.Close()
		stop(t, b)
		stop(t, b)
	}
	goleak.VerifyNone(t, before)
}
