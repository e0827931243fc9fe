package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
)

// A probe is an event of the tenant ProbeTenant, which has nobody's data but this: one device for each
// partition of keystone.events, always the same ones, so that a probe makes no new profile after the
// first. Its key lives as long as the probe. What it leaves in ClickHouse is removed at the end, unless
// it is to be kept: analysts who look at all tenants at once would count it.
const (
	ProbeTenant = "keystone-doctor"
	ProbeEvent  = "Keystone Probe"
)

const (
	// maxProbes bounds the partitions that are probed; of more, the first ones are.
	maxProbes = 256
	// keyLife is when a key is taken for one of a doctor that died.
	keyLife = time.Hour
	// probeRate is the key's, in events per second: the edge's own limit might be smaller.
	probeRate = 1000
	// probePoll is how often the stages are asked.
	probePoll = 100 * time.Millisecond
	// cleanTimeout is for the removal of what the probe left.
	cleanTimeout = 30 * time.Second
	// settleTimeout is for the sink to save its position, which it does every second.
	settleTimeout = 5 * time.Second
)

// The stages, in the order of the flow.
const (
	stageEdge = iota
	stageLog
	stageProcessor
	stageOutbox
	stageEvents
	stageChanges
	stages
)

var stageNames = [stages]string{"edge", "log", "processor", "changes_published", "events_in_clickhouse", "changes_in_clickhouse"}

// Probe is how far the probe came.
type Probe struct {
	Event      string  `json:"event"` // the message ids' common beginning
	Partitions int     `json:"partitions"`
	Stages     []Stage `json:"stages"`
}

// Stage is one step of the way.
type Stage struct {
	Name      string  `json:"name"`
	Passed    int     `json:"passed"`               // of the partitions
	Stuck     []int32 `json:"stuck,omitempty"`      // partitions it did not come through
	SlowestMs float64 `json:"slowest_ms,omitempty"` // since it was sent; as the polling saw it
}

// tracer is one event of the probe.
type tracer struct {
	partition int32 // meant, until the log has told
	id        string
	device    string
	profile   uuid.UUID
	sent      time.Time
	offset    int64
	received  time.Time             // by the edge's clock
	passed    [stages]time.Duration // 0: not yet
	problem   string                // what the edge answered
}

func (t *tracer) pass(stage int) {
	if t.passed[stage] == 0 {
		t.passed[stage] = max(time.Since(t.sent), 1)
	}
}

type prober struct {
	*Doctor
	tenant  uuid.UUID
	secret  string
	tracers []*tracer
}

func (d *Doctor) probe(ctx context.Context) {
	const check = "probe"
	if d.cfg.EdgeURL == "" || d.pool == nil || d.columns == nil || d.admin == nil {
		d.report.add(check, Skipped, "", "needs the edge, the log and both stores: give --edge, --brokers, --store-dsn and --clickhouse-dsn")
		return
	}
	if d.missing || d.broken("log", "edge", checkNameStore, checkNameColumns, "migrations") {
		d.report.add(check, Skipped, "", "cannot be sent and followed before the findings above are mended")
		return
	}
	p := &prober{Doctor: d}
	setup, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	forget, err := p.makeKey(setup)
	defer forget()
	if err == nil {
		err = p.aim(setup)
	}
	var follow *kgo.Client
	if err == nil {
		follow, err = p.follower(setup)
	}
	if err != nil {
		d.report.add(check, Skipped, "", "cannot be prepared: %v", redact(err))
		return
	}
	defer follow.Close()
	run, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	p.send(run)
	p.follow(run, follow)
	p.tell(ctx)
	if !d.cfg.KeepProbe {
		p.clean(ctx)
	}
}

// makeKey makes the probe's tenant, once, and a key, which the returned function removes.
func (p *prober) makeKey(ctx context.Context) (forget func(), err error) {
	plane := control.New(p.pool)
	tenant, err := plane.Tenant(ctx, ProbeTenant)
	if errors.Is(err, control.ErrUnknownTenant) {
		if tenant, err = plane.CreateTenant(ctx, ProbeTenant, "keystone doctor"); errors.Is(err, control.ErrExists) {
			tenant, err = plane.Tenant(ctx, ProbeTenant)
		}
	}
	if err != nil {
		return func() {}, err
	}
	p.tenant = tenant.ID
	secret, info, err := plane.CreateKey(ctx, control.KeySpec{Tenant: tenant.ID, Scope: control.Integration, Label: "keystone doctor", Rate: probeRate, Burst: maxProbes})
	if err != nil {
		return func() {}, err
	}
	p.secret = secret
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Timeout)
		defer cancel()
		if err := plane.DeleteKey(ctx, tenant.ID, info.KeyID, time.Now().Add(-keyLife)); err != nil {
			p.report.add("probe", Warning, "the next keystone doctor removes it", "its key is still there: %v", redact(err))
		}
	}, nil
}

// aim finds for each partition of keystone.events a device whose events go there.
func (p *prober) aim(ctx context.Context) error {
	ends, err := p.admin.ListEndOffsets(ctx, event.TopicEvents)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	n := len(ends[event.TopicEvents])
	run := "doctor-" + uuid.NewString()
	p.report.Probe = &Probe{Event: run, Partitions: min(n, maxProbes)}
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic(event.TopicEvents)
	taken := map[int]bool{}
	for i := 0; len(taken) < p.report.Probe.Partitions; i++ {
		device := event.Identifier{Kind: event.KindAnonymous, Value: "keystone-doctor-" + strconv.Itoa(i)}
		at := partitioner.Partition(&kgo.Record{Key: event.RoutingKey(nil, p.tenant, device)}, n)
		if taken[at] || at >= maxProbes {
			continue
		}
		taken[at] = true
		p.tracers = append(p.tracers, &tracer{partition: int32(at), id: run + "-" + strconv.Itoa(at), device: device.Value,
			profile: event.NodeID(p.tenant, device.Kind, device.Value)})
	}
	slices.SortFunc(p.tracers, func(a, b *tracer) int { return int(a.partition - b.partition) })
	return nil
}

// follower reads keystone.events from its ends as they are now.
func (p *prober) follower(ctx context.Context) (*kgo.Client, error) {
	ends, err := p.admin.ListEndOffsets(ctx, event.TopicEvents)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for partition, end := range ends[event.TopicEvents] {
		from[partition] = kgo.NewOffset().At(end.Offset)
	}
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.cfg.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{event.TopicEvents: from})}, p.cfg.Access...)...)
}

func (p *prober) send(ctx context.Context) {
	for _, t := range p.tracers {
		t.sent = time.Now()
		if t.problem = p.post(ctx, t); t.problem == "" {
			t.pass(stageEdge)
		}
	}
}

func (p *prober) post(ctx context.Context, t *tracer) (problem string) {
	body, err := json.Marshal(map[string]any{
		"message_id": t.id, "anonymous_id": t.device, "event_type": "track", "event_name": ProbeEvent,
		"context": map[string]any{"library": map[string]string{"name": "keystone doctor", "version": p.cfg.Version}},
	})
	if err != nil {
		return err.Error()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.cfg.EdgeURL, "/")+"/ingest", strings.NewReader(string(body)))
	if err != nil {
		return "the address is not one like http://host:port"
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-API-Key", p.secret)
	status, _, answer, err := do(request)
	switch {
	case err != nil:
		return "no answer: " + err.Error()
	case status != http.StatusOK:
		return fmt.Sprintf("status %d: %.200s", status, bytes.TrimSpace(answer))
	}
	return ""
}

// follow asks the stages until all probes have come through or the time is over.
func (p *prober) follow(ctx context.Context, log *kgo.Client) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan *kgo.Record)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for reading.Err() == nil {
			log.PollFetches(reading).EachRecord(func(r *kgo.Record) {
				select {
				case found <- r:
				case <-reading.Done():
				}
			})
		}
	}()
	defer func() { cancel(); <-done }()
	tick := time.NewTicker(probePoll)
	defer tick.Stop()
	for !p.through() {
		select {
		case r := <-found:
			p.logged(r)
		case <-tick.C:
			p.ask(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// through tells whether every probe that the edge took has come to the end.
func (p *prober) through() bool {
	return !slices.ContainsFunc(p.tracers, func(t *tracer) bool { return t.problem == "" && slices.Contains(t.passed[:], 0) })
}

func (p *prober) logged(r *kgo.Record) {
	var message struct {
		MessageID string `json:"message_id"`
	}
	if err := json.Unmarshal(r.Value, &message); err != nil {
		return // somebody else's
	}
	for _, t := range p.tracers {
		if t.id != message.MessageID || t.passed[stageLog] > 0 {
			continue
		}
		t.partition, t.offset = r.Partition, r.Offset
		if meta, err := event.ReadMeta(r.Headers); err == nil {
			t.received = meta.ReceivedAt
		}
		t.pass(stageLog)
	}
}

// ask looks at the two stores. An error is an answer that has not come yet: what is stuck is told when
// the time is over.
func (p *prober) ask(ctx context.Context) {
	offsets, err := control.New(p.pool).Offsets(ctx)
	if err == nil {
		for _, o := range offsets {
			for _, t := range p.tracers {
				if o.Topic == event.TopicEvents && o.Partition == t.partition && t.passed[stageLog] > 0 && o.Next > t.offset {
					t.pass(stageProcessor)
					if o.Unpublished == 0 {
						t.pass(stageOutbox)
					}
				}
			}
		}
	}
	ids := make([]string, len(p.tracers))
	for i, t := range p.tracers {
		ids[i] = t.id
	}
	// As analysts see it, and so that the probe's row is found by the index.
	p.seen(ctx, stageEvents, func(t *tracer, key string, _ time.Time) bool { return t.id == key },
		"SELECT message_id, received_at FROM events_resolved WHERE tenant_id = ? AND event_name = ? AND message_id IN ?", p.tenant, ProbeEvent, ids)
	p.seen(ctx, stageChanges, func(t *tracer, key string, last time.Time) bool {
		return t.profile.String() == key && !t.received.IsZero() && !last.Before(t.received.Truncate(time.Millisecond))
	}, "SELECT toString(profile_id), last_seen FROM profiles FINAL WHERE tenant_id = ?", p.tenant)
}

func (p *prober) seen(ctx context.Context, stage int, is func(t *tracer, key string, at time.Time) bool, sql string, args ...any) {
	rows, err := p.columns.Query(ctx, sql, args...)
	if err != nil {
		return
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var at time.Time
		if rows.Scan(&key, &at) != nil {
			return
		}
		for _, t := range p.tracers {
			if is(t, key, at) {
				t.pass(stage)
			}
		}
	}
}
