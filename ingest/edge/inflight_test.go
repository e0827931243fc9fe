package edge

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/produce"
)

// waiting is a lane that answers when it is told to, or panics.
type waiting struct {
	instant
	answer chan struct{}
	panics bool
}

func (w waiting) Submit([]*kgo.Record) produce.Ticket {
	if w.panics {
		panic("a bug")
	}
	return produce.Ticket{}
}

func (w waiting) Wait(produce.Ticket) produce.Outcome {
	<-w.answer
	return produce.Outcome{}
}

func TestRequestsInFlight(t *testing.T) {
	registry := prometheus.NewRegistry()
	keys, err := key.New(key.DefaultConfig(), newKeySource(), registry)
	if err != nil {
		t.Fatal(err)
	}
	lane := waiting{answer: make(chan struct{})}
	s, err := New(DefaultConfig(), Deps{Keys: keys, Live: lane, Backfill: instant{}, Jobs: noJobs{}, Log: slog.New(slog.DiscardHandler), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	gauge := func() (n float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "keystone_edge_requests_in_flight" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no such metric")
		return 0
	}
	const n = 3 * stripes
	var requests sync.WaitGroup
	for range n {
		requests.Go(func() {
			c := newCall("/ingest", []byte(page), "X-API-Key", trackerKey, "Content-Type", jsonType)
			if status := c.run(s); status != 200 {
				t.Errorf("answered %d", status)
			}
		})
	}
	until(t, "all are under way", func() bool { return gauge() == n })
	close(lane.answer)
	requests.Wait()
	if got := gauge(); got != 0 {
		t.Errorf("%v in flight after all were answered", got)
	}
	s.deps.Live = waiting{panics: true}
	newCall("/ingest", []byte(page), "X-API-Key", trackerKey, "Content-Type", jsonType).run(s)
	newCall("/nowhere", nil).run(s)
	if got := gauge(); got != 0 || testutil.ToFloat64(s.metrics.panics) != 1 {
		t.Errorf("%v in flight after a bug", got)
	}
}

// BenchmarkInFlight is the handler on all cores, where the count could stand in its own way.
func BenchmarkInFlight(b *testing.B) {
	s := bare(b)
	body := event400(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := newCall("/ingest", body, "X-API-Key", trackerKey, "Content-Type", jsonType)
		for pb.Next() {
			if c.run(s) != 200 {
				b.Error(string(c.ctx.Response.Body()))
				return
			}
		}
	})
}
