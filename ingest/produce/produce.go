// Package produce makes records durable in the log: a Lane is one topic's way there, with its own
// client, so that a backfill does not stand in live traffic's way. Where the log does not answer in
// time the records go to the lane's spool instead, and everything after them as well until the spool
// is empty again, so that order holds.
//
// Requests share produce requests by group commit: while one group is under way the next gathers, so
// that a group is as large as the log is slow, and a lone request waits for nobody.
//
// # What is promised
//
// Records that were submitted after others had been acknowledged are in the log behind them. Every
// acknowledged record is in the log, or in the spool and will be. A record may be in the log twice
// (the log's answer was late, or a crash interrupted the drain), both times under one message id.
// Of a record that could not be made durable, Outcome.Doubtful says whether it may arrive all the
// same: the log was asked and did not answer, and then the disk failed as well.
//
// A Lane runs between Start and Stop; Stop ends its goroutines, its client and its spool.
package produce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/spool"
)

// Spool is where records wait for a log that does not take them; *spool.Spool is one.
type Spool interface {
	Start(deliver spool.Deliver)
	Stop(ctx context.Context) error
	Append(records []*kgo.Record, wait time.Duration) error
	Pending() int64
	Room() bool
}

// Lane is the way of one topic's records into the log.
type Lane struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	client  *kgo.Client
	spool   Spool
	// Delivered is told of records that the log has taken from the spool, with their partitions and
	// offsets, before they are forgotten. Set before Start.
	Delivered func(records []*kgo.Record)

	late     atomic.Bool // the group under way has waited too long: everything goes to the spool
	ready    chan struct{}
	punctual chan struct{} // signalled when a late group has been answered; capacity 1
	cancel   context.CancelFunc
	sender   sync.WaitGroup
	stopOnce sync.Once
	stopErr  error

	mu     sync.Mutex // guards what follows
	gather *group
	sent   *group // under way; nil: none
	closed bool
}

// group is records of many requests that go to the log together. done is closed when its fate is
// known; the fields above it are then final.
type group struct {
	late    bool                  // no answer in time: it may or may not be in the log
	failed  map[*kgo.Record]error // what the log refused; nil: nothing
	unsent  bool                  // it was never handed to the log
	done    chan struct{}
	decided bool // under Lane.mu: done is closed
	records []*kgo.Record
}

// NewLane makes a lane into topic. The spool must be open; the lane starts and stops it.
func NewLane(cfg Config, topic string, sp Spool, log *slog.Logger, reg prometheus.Registerer) (*Lane, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("keystone-edge"),
		kgo.DefaultProduceTopicAlways(),
		kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// The hash of the Java client, so that other producers agree on partitions.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(cfg.BatchBytes),
		kgo.MaxBufferedRecords(maxBuffered),
		// The client never gives a record up by itself: that would let a later one overtake it. What
		// waits too long goes to the spool, and the client's copy may still arrive, earlier.
		kgo.UnknownTopicRetries(-1),
		// ProduceSync ends the linger for the whole group at once; without a linger the first record
		// of a group would leave alone.
		kgo.ProducerLinger(linger),
		kgo.ProduceRequestTimeout(cfg.AckWithin),
		kgo.DialTimeout(cfg.DialTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return cfg.RetryAfter }),
		kgo.MetadataMinAge(cfg.RetryAfter),
	}, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", topic, err)
	}
	l := &Lane{
		cfg: cfg, log: log, client: client, spool: sp,
		ready: make(chan struct{}, 1), punctual: make(chan struct{}, 1), gather: newGroup(),
	}
	l.metrics = newMetrics(reg, topic, l)
	return l, nil
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Start runs the lane and the drain of its spool. The log need not be there.
func (l *Lane) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.sender.Go(func() { l.run(ctx) })
	l.spool.Start(l.deliver)
	return nil
}

// Stop waits for what is under way until ctx ends, then closes the client and the spool. What is not
// in the log by then is in the spool. Nothing may be submitted any more.
func (l *Lane) Stop(ctx context.Context) error {
	l.stopOnce.Do(func() {
		l.mu.Lock()
		l.closed = true
		under := l.sent
		l.mu.Unlock()
		if under != nil {
			select {
			case <-under.done:
			case <-ctx.Done():
			}
		}
		if l.cancel != nil {
			l.cancel()
		}
		l.client.Close() // fails what it still holds, so that nobody waits for it
		l.sender.Wait()
		l.stopErr = l.spool.Stop(ctx)
	})
	return l.stopErr
}

// Ready is nil if the lane can take records: into the log, or into a spool with room.
func (l *Lane) Ready() error {
	if l.direct() || l.spool.Room() {
		return nil
	}
	return errors.New("the log does not answer and the spool is full")
}

// direct tells that records may go straight to the log: nothing waits in front of them.
func (l *Lane) direct() bool { return !l.late.Load() && l.spool.Pending() == 0 }

// Ticket is a submission under way.
type Ticket struct {
	records []*kgo.Record
	group   *group // nil: it goes to the spool
}

// Submit hands records over; Wait must follow. They must stay as they are until then, and for good
// if the outcome is Retained. It does not block.
func (l *Lane) Submit(records []*kgo.Record) Ticket {
	if !l.direct() {
		return Ticket{records: records}
	}
	l.mu.Lock()
	g := l.gather
	if l.closed || l.late.Load() || len(g.records)+len(records) > l.cfg.GroupRecords {
		l.mu.Unlock()
		return Ticket{records: records}
	}
	g.records = append(g.records, records...)
	idle := l.sent == nil
	l.mu.Unlock()
	if idle {
		signal(l.ready)
	}
	return Ticket{records: records, group: g}
}

// Outcome is what became of a submission. Every record is in exactly one of Logged, Refused and
// Failed, or else in the spool.
type Outcome struct {
	Logged  []*kgo.Record // in the log, with their partitions and offsets
	Spooled int
	Refused []*kgo.Record // the log will never take them: they are too large for it
	Failed  []*kgo.Record // Err says why; they are not acknowledged
	Err     error
	// Retained: the client still holds the records' memory. It must not be used again.
	Retained bool
	// Doubtful: what failed may nevertheless reach the log later.
	Doubtful bool
}

// ErrUnavailable says that records could be made durable neither in the log nor in the spool.
var ErrUnavailable = errors.New("neither the log nor the spool takes records")

// Wait tells what became of a submission. It answers within AckWithin + SpoolWithin.
func (l *Lane) Wait(t Ticket) Outcome {
	if t.group == nil {
		return l.toSpool(t.records, Outcome{})
	}
	<-t.group.done
	switch {
	case t.group.unsent:
		return l.toSpool(t.records, Outcome{})
	case t.group.late:
		return l.toSpool(t.records, Outcome{Retained: true, Doubtful: true})
	case t.group.failed == nil:
		return Outcome{Logged: t.records}
	}
	o := Outcome{Retained: true}
	var again []*kgo.Record
	for _, r := range t.records {
		switch err := t.group.failed[r]; {
		case err == nil:
			o.Logged = append(o.Logged, r)
		case forGood(err):
			o.Refused = append(o.Refused, r)
		default:
			again = append(again, r)
			o.Doubtful = true
		}
	}
	if len(again) == 0 {
		return o
	}
	return l.toSpool(again, o)
}

// toSpool appends records behind all others that wait there.
func (l *Lane) toSpool(records []*kgo.Record, o Outcome) Outcome {
	err := error(spool.ErrFull)
	if o.Doubtful || l.spool.Room() { // what is under way already may use the last of it
		err = l.spool.Append(records, l.cfg.SpoolWithin)
	}
	if err != nil {
		o.Err, o.Failed = fmt.Errorf("%w: %w", ErrUnavailable, err), records
		o.Doubtful = o.Doubtful || errors.Is(err, spool.ErrDoubtful)
		l.metrics.unavailable.Add(float64(len(records)))
		return o
	}
	o.Spooled, o.Doubtful = len(records), false
	l.metrics.spooled.Add(float64(len(records)))
	return o
}

// run hands group after group to the log. While one is under way the next gathers.
func (l *Lane) run(ctx context.Context) {
	for {
		select {
		case <-l.ready:
		case <-ctx.Done():
			l.mu.Lock()
			l.decide(l.gather, func(g *group) { g.unsent = true })
			l.mu.Unlock()
			return
		}
		for l.send(ctx) {
		}
	}
}

// send hands over what has gathered and waits for the answer. It answers false if there was nothing.
func (l *Lane) send(ctx context.Context) bool {
	l.mu.Lock()
	g := l.gather
	if len(g.records) == 0 {
		l.sent = nil
		l.mu.Unlock()
		return false
	}
	l.sent, l.gather = g, newGroup()
	l.mu.Unlock()

	begin := time.Now()
	watchdog := time.AfterFunc(l.cfg.AckWithin, func() { l.overdue(g) })
	results := l.client.ProduceSync(ctx, g.records...)
	watchdog.Stop()
	l.metrics.groups.Observe(float64(len(g.records)))
	l.metrics.ack.Observe(time.Since(begin).Seconds())

	var failed map[*kgo.Record]error
	for _, r := range results {
		if r.Err != nil {
			if failed == nil {
				failed = map[*kgo.Record]error{}
			}
			failed[r.Record] = r.Err
		}
	}
	if failed != nil {
		l.metrics.failed.Add(float64(len(failed)))
		l.log.Warn("the log refused records", "records", len(failed), "error", results.FirstErr())
	}
	l.metrics.logged.Add(float64(len(results) - len(failed)))
	l.mu.Lock()
	l.decide(g, func(g *group) { g.failed = failed })
	wasLate := g.late
	l.mu.Unlock()
	if wasLate {
		l.late.Store(false)
		signal(l.punctual)
		l.log.Info("the log answers again", "after_ms", time.Since(begin).Milliseconds())
	}
	return true
}

// overdue is the watchdog: the group's requests, and those that wait behind it, go to the spool.
func (l *Lane) overdue(g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.decided {
		return
	}
	l.late.Store(true) // before anybody learns of it: what they send next must not overtake them
	l.decide(g, func(g *group) { g.late = true })
	behind := l.gather
	l.gather = newGroup()
	l.decide(behind, func(g *group) { g.unsent = true })
	l.metrics.late.Add(float64(len(g.records)))
	l.log.Warn("the log does not answer; spooling", "records", len(g.records), "waited_ms", l.cfg.AckWithin.Milliseconds())
}

// decide makes a group's fate known, once. l.mu is held.
func (l *Lane) decide(g *group, fate func(g *group)) {
	if !g.decided {
		fate(g)
		g.decided = true
		close(g.done)
	}
}

// deliver hands spooled records to the log, for the spool's drain.
func (l *Lane) deliver(ctx context.Context, records []*kgo.Record) (refused []*kgo.Record, err error) {
	for l.late.Load() { // the client holds the late group: more would only pile up behind it
		select {
		case <-l.punctual:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	logged := records
	results := l.client.ProduceSync(ctx, records...)
	for _, r := range results {
		switch {
		case r.Err == nil:
		case forGood(r.Err):
			refused = append(refused, r.Record)
		case err == nil:
			err = fmt.Errorf("produce: %w", r.Err)
		}
	}
	if err != nil {
		return nil, err
	}
	l.metrics.logged.Add(float64(len(results) - len(refused)))
	if l.Delivered != nil {
		if len(refused) > 0 {
			logged = nil
			for _, r := range results {
				if r.Err == nil {
					logged = append(logged, r.Record)
				}
			}
		}
		l.Delivered(logged)
	}
	return refused, nil
}

// forGood tells errors about the record itself, which no repetition heals.
func forGood(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
