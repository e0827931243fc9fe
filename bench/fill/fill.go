// Package fill brings a shop's events, and all that the processor makes of them, into ClickHouse: as
// many as a measurement needs. Events and changes go through a log and the sink, as they do in life;
// the processor's rules run in memory, without a state store. Copies multiplies what is there.
//
// It is for tests and benchmarks. The tables must be there (analytics/schema).
package fill

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// chapter is how many events one stream has. Each chapter is households of its own, all over the span,
// and a state of its own in memory, which stays small.
const chapter = 20_000

// round is how many chapters the log holds before the sink catches up and the log is emptied.
const round = 10

// partitions of each topic.
const partitions = 4

// Shop fills the tables of dsn with a shop's events: about n, in chapters of 20 000 with seeds from
// cfg.Seed on. received_at is the time of the event and a moment; the rest is as cfg says. It answers
// how many distinct messages there are.
func Shop(tb testing.TB, dsn string, tenant uuid.UUID, n int, cfg shop.Config) (messages int) {
	tb.Helper()
	f := start(tb, dsn, tenant)
	for i := range (n + chapter - 1) / chapter {
		chapterOf := cfg
		chapterOf.Seed, chapterOf.Events, chapterOf.Users = cfg.Seed+uint64(i), min(chapter, n-i*chapter), 0
		truth, err := f.chapter(i, chapterOf)
		f.must(err)
		messages += truth.Messages
		if i%round == round-1 {
			f.drain()
		}
	}
	f.drain()
	f.stop() // which saves where it got to
	return messages
}

// filler is a log with a producer at one end and a sink at the other.
type filler struct {
	testing.TB
	tenant uuid.UUID
	dsn    string
	client *kgo.Client
	admin  *kadm.Client
	stop   func() // the sink
}

func start(tb testing.TB, dsn string, tenant uuid.UUID) *filler {
	tb.Helper()
	f := &filler{TB: tb, tenant: tenant, dsn: dsn}
	seeds := enginetest.Broker(tb,
		enginetest.Topic{Name: event.TopicEvents, Partitions: partitions}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 1},
		enginetest.Topic{Name: event.TopicChanges, Partitions: partitions})
	var err error
	f.client, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(20_000))
	f.must(err)
	tb.Cleanup(f.client.Close)
	f.admin = kadm.NewClient(f.client)

	cfg := analytics.DefaultConfig()
	cfg.ClickHouseDSN, cfg.Sink.Brokers, cfg.Sink.Group = dsn, seeds, "fill"
	sink, err := analytics.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	f.must(err)
	f.must(sink.Start(tb.Context()))
	f.stop = sync.OnceFunc(func() { f.must(sink.Stop(context.Background())) })
	tb.Cleanup(f.stop)
	return f
}

func (f *filler) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// patience bounds the wait for the sink.
const patience = 10 * time.Minute

// drain waits until all that is in the log is in the tables, and empties the log.
func (f *filler) drain() {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	f.must(f.client.Flush(ctx))
	ends, err := f.admin.ListEndOffsets(ctx, event.TopicEvents, event.TopicChanges)
	f.must(err)
	conn, err := query.Open(f.dsn, 1)
	f.must(err)
	defer conn.Close() //nolint:errcheck // it was only read from
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		at, err := query.Positions(ctx, conn)
		f.must(err)
		if reached(ends, at) {
			break
		}
		<-tick.C
	}
	_, err = f.admin.DeleteRecords(ctx, ends.Offsets())
	f.must(err)
}

func reached(ends kadm.ListedOffsets, at []query.Position) bool {
	next := map[string]int64{}
	for _, p := range at {
		next[fmt.Sprint(p.Topic, p.Partition)] = p.NextOffset
	}
	all := true
	ends.Each(func(o kadm.ListedOffset) { all = all && next[fmt.Sprint(o.Topic, o.Partition)] >= o.Offset })
	return all
}
