// Package demo replays the shop's stream against a running Keystone, as `keystone demo` does: part of
// it live, event by event, part of it as history, in batches. It is the client's half; what came of
// the events is read back elsewhere and compared with Summary.Truth.
package demo

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/shop"
)

// Summary is what was sent and what became of it at the edge. All counts but Batches are events.
type Summary struct {
	Sent         int64 // Acknowledged + Rejected + Failed
	Acknowledged int64 // repeated deliveries included
	Rejected     int64 // as they should be: the stream has invalid events on purpose
	Failed       int64
	Retries      int64 // requests sent again
	Live         int64 // of Sent, through POST /ingest
	History      int64 // of Sent, in batches
	Batches      int64
	Distinct     int64 // message ids that must count, by the shop's own books
	Duplicates   int64 // deliveries beyond the first of a message id
	Elapsed      time.Duration
	// Truth is what must be found once everything is processed, if Failed is 0 and the replay was not
	// cut short.
	Truth         shop.Truth
	LiveReport    *load.Report
	HistoryReport *load.Report
}

// Replay sends the stream and shows a bar on progress, unless that is nil. The summary is good also
// beside an error: it tells how far the replay came.
func Replay(ctx context.Context, cfg Config, progress io.Writer) (Summary, error) {
	if err := cfg.Validate(); err != nil {
		return Summary{}, err
	}
	cfg = cfg.dated(time.Now())
	var done atomic.Int64
	count := func(events int) { done.Add(int64(events)) }
	stop := showProgress(progress, cfg.Shop.Events, &done)
	defer stop()

	start := time.Now()
	live, history := cfg.live(), cfg.history()
	live.OnDone, history.OnDone = count, count
	var s Summary
	var liveErr, historyErr error
	var truth, other shop.Truth
	var wg sync.WaitGroup
	wg.Go(func() { s.LiveReport, truth, liveErr = replay(ctx, live, cfg, true) })
	wg.Go(func() { s.HistoryReport, other, historyErr = replay(ctx, history, cfg, false) })
	wg.Wait()
	if other.Deliveries > truth.Deliveries { // both have seen all of it, unless they were cut short
		truth = other
	}
	s.Truth, s.Elapsed = truth, time.Since(start)
	s.sum()
	return s, errors.Join(liveErr, historyErr)
}

// replay sends one side's households. Either side makes the whole stream and skips the other's part:
// making it costs next to nothing, and nobody has to wait for the other.
func replay(ctx context.Context, side load.Config, cfg Config, live bool) (*load.Report, shop.Truth, error) {
	stream, err := shop.New(cfg.Shop)
	if err != nil {
		return nil, shop.Truth{}, err
	}
	border := uint64(cfg.LiveShare * (1 << 32))
	report, err := load.Run(ctx, side, func(dst []byte) ([]byte, uint64, bool) {
		for {
			out, d, ok := stream.Next(dst)
			// A household is on one side as a whole, so that its order holds.
			if !ok || (d.Lane>>32 < border) == live {
				return out, d.Lane, ok
			}
			dst = out[:len(dst)]
		}
	})
	return report, stream.Truth(), err
}

func (s *Summary) sum() {
	for _, r := range [...]*load.Report{s.LiveReport, s.HistoryReport} {
		if r == nil {
			continue
		}
		s.Sent += r.Sent
		s.Acknowledged += r.Acknowledged
		s.Rejected += r.Rejected
		s.Failed += r.Failed
		s.Retries += r.Retries
	}
	if s.LiveReport != nil {
		s.Live = s.LiveReport.Sent
	}
	if s.HistoryReport != nil {
		s.History = s.HistoryReport.Sent
		s.Batches = s.HistoryReport.Requests - s.HistoryReport.Retries
	}
	s.Distinct, s.Duplicates = int64(s.Truth.Messages), int64(s.Truth.Duplicates)
}

// refresh is how often the bar moves.
const refresh = 100 * time.Millisecond

// showProgress draws a bar until the returned function is called.
func showProgress(w io.Writer, total int, done *atomic.Int64) (stop func()) {
	if w == nil {
		return func() {}
	}
	if total == 0 {
		total = -1 // unknown: a spinner
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("events"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"),
		progressbar.OptionSetWidth(40), progressbar.OptionThrottle(refresh/2))
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = bar.Set64(done.Load())
			case <-quit:
				_ = bar.Set64(done.Load())
				_, _ = io.WriteString(w, "\n")
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
