// Package sink brings the log into ClickHouse: events with the columns analysts ask for, and the
// changes the processor made to profiles, identifiers, orders and products. Every record has its
// effect once, whatever process dies when.
//
// One goroutine reads the log; one for each partition (a lane) decodes and inserts; one saves
// positions. The consumer group only says which partitions are ours: how far each one got is read
// from ClickHouse (see readStart). A batch is one contiguous range of offsets of one partition, one
// INSERT and one part. What fails is repeated for ever; while ClickHouse is away the buffer fills up
// and reading stops.
//
// It creates no tables (package schema does) and knows no tenant's settings. Whoever called Start
// calls Stop; both the reader and the lanes are waited for.
package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/service"
)

// Sink is the role. Its methods are safe for use by several goroutines; Start and Stop are not to be
// called at the same time.
type Sink struct {
	cfg      Config
	servers  *shard.Servers
	log      *slog.Logger
	metrics  *metrics
	insert   *inserter
	poison   *poisonLog
	messages *messages
	others   *others
	budget   *budget
	pace     *pace
	pool     kgo.Pool // of fetched records, and a hook
	now      func() time.Time
	erased   atomic.Pointer[erased]

	client   *kgo.Client        // from Start on
	started  chan struct{}      // closed once client is set
	stopRead context.CancelFunc // ends the reader and the saver
	stopAll  context.CancelFunc // ends the lanes without their last inserts
	lanesCtx context.Context    // of the lanes
	running  sync.WaitGroup     // the reader and the saver

	mu    sync.Mutex // guards the rest
	on    bool       // between Start and Stop
	lanes map[tp]*lane
	// partitions are those of the events' topics, anybody's, as of the last rebalance.
	partitions map[tp]bool
	saved      map[tp]position // the last ones saved
	told       map[tp]int64    // the last offsets that the group took
	vouched    vouch           // what ClickHouse was told last of the erasures this process knows
}

// New makes a sink that writes to servers, which stay the caller's. It starts nothing.
func New(cfg Config, servers *shard.Servers, log *slog.Logger, reg prometheus.Registerer) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure sink: %w", err)
	}
	m := newMetrics(reg)
	s := &Sink{
		cfg: cfg, servers: servers, log: log, metrics: m,
		insert:   &inserter{servers: servers, timeout: cfg.InsertTimeout, metrics: m, log: log, failing: map[string]error{}},
		poison:   &poisonLog{metrics: m, log: log},
		messages: newMessages(cfg.SeenWindow, cfg.SeenMessages),
		budget:   newBudget(cfg.BufferBytes, func(bytes int) { m.buffered.Set(float64(bytes)) }),
		pace:     newPace(cfg.SmallInserts),
		pool:     &recordPool{},
		now:      time.Now,
		started:  make(chan struct{}),
		lanes:    map[tp]*lane{},
		saved:    map[tp]position{},
		told:     map[tp]int64{},
	}
	s.erased.Store(&erased{})
	s.others = &others{servers: servers, messages: s.messages, metrics: m, window: cfg.SeenWindow, limit: cfg.SeenMessages,
		now: func() time.Time { return s.now() }, next: map[tp]int64{}}
	return s, nil
}

// Start begins to read. It does not wait for ClickHouse or the log: Ready tells about them. A sink
// is started once.
func (s *Sink) Start(context.Context) error {
	if s.client != nil {
		return errors.New("start sink: it was started before")
	}
	s.lanesCtx, s.stopAll = context.WithCancel(context.Background())
	client, err := s.connect()
	if err != nil {
		return fmt.Errorf("start sink: %w", err)
	}
	s.client = client
	close(s.started)
	ctx, cancel := context.WithCancel(context.Background())
	s.stopRead = cancel
	s.turn(true)
	s.running.Go(func() { s.read(ctx) })
	s.running.Go(func() { s.save(ctx) })
	return nil
}

// Stop inserts the batches under way, saves the positions and leaves the group. What it cannot do
// before ctx ends is left to the next start.
func (s *Sink) Stop(ctx context.Context) error {
	if !s.turn(false) {
		return nil
	}
	s.stopRead()
	s.running.Wait()
	err := s.finish(ctx, s.takeLanes(nil))
	s.stopAll()
	s.client.CloseAllowingRebalance()
	return err
}

// turn says whether the sink runs, and answers whether it did.
func (s *Sink) turn(on bool) (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.on = s.on, on
	return before
}

// Ready tells whether ClickHouse takes inserts and the log answers.
func (s *Sink) Ready(ctx context.Context) error {
	s.mu.Lock()
	on := s.on
	s.mu.Unlock()
	if !on {
		return errors.New("sink is not running")
	}
	if err := s.insert.failure(); err != nil {
		return err
	}
	if err := s.servers.Ping(ctx); err != nil {
		return err
	}
	if err := s.client.Ping(ctx); err != nil {
		return fmt.Errorf("ping log: %w", err)
	}
	return nil
}

// save writes the positions that moved, every now and then.
func (s *Sink) save(ctx context.Context) {
	ticker := time.NewTicker(s.cfg.PositionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// A failure is no loss, only work to do again; the next tick tries again, and if ClickHouse
			// is away the lanes say so.
			if err := s.saveMoved(ctx, s.lanesNow()); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "cannot save positions", "error", err)
			}
			if err := s.followErasures(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "cannot read who was erased", "error", err)
			}
			if err := s.followOthers(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "cannot read what other sinks inserted", "error", err)
			}
		}
	}
}

// followOthers remembers the messages of the partitions that are not ours.
func (s *Sink) followOthers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	s.mu.Lock()
	var foreign []tp
	for at := range s.partitions {
		if s.lanes[at] == nil {
			foreign = append(foreign, at)
		}
	}
	s.mu.Unlock()
	for _, at := range foreign {
		if err := s.others.remember(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) lanesNow() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := make([]*lane, 0, len(s.lanes))
	for _, l := range s.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}

// saveMoved saves the positions of lanes that moved since they were saved last, and tells the group.
func (s *Sink) saveMoved(ctx context.Context, lanes []*lane) error {
	moved := map[tp]position{}
	all := map[tp]int64{}
	s.mu.Lock()
	for _, l := range lanes {
		p := *l.position.Load()
		s.metrics.setLag(l.tp, l.end.Load()-p.next)
		all[l.tp] = p.next
		if s.saved[l.tp].next != p.next {
			moved[l.tp] = p
		}
	}
	s.mu.Unlock()
	n, since := s.messages.memory()
	s.metrics.seen.Set(float64(n))
	if !since.IsZero() {
		s.metrics.seenWindow.Set(s.now().Sub(since).Seconds())
	}
	if len(moved) > 0 {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
		defer cancel()
		if err := savePositions(ctx, s.servers, moved); err != nil {
			return err
		}
		s.mu.Lock()
		maps.Copy(s.saved, moved)
		s.mu.Unlock()
	}
	s.tell(ctx, all)
	return nil
}

// commitTimeout bounds one commit of group offsets.
const commitTimeout = 5 * time.Second

// tell commits offsets to the group that it does not know yet. Nobody but lag tools reads them, so
// what fails is only tried again with the next positions.
func (s *Sink) tell(ctx context.Context, all map[tp]int64) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	s.mu.Lock()
	for at, next := range all {
		if s.told[at] == next {
			continue
		}
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.partition] = kgo.EpochOffset{Epoch: -1, Offset: next}
	}
	s.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if service.CommitOffsets(ctx, s.client, offsets) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.told, all)
}
