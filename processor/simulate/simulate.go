// Package simulate rehearses a change of a tenant's rules of identity: it reads a window of the log,
// folds it twice in memory, under the current and under the new settings, and tells which profiles
// would merge or split and what would be refused.
//
// It reads the log and nothing else, writes nowhere, and joins no consumer group. What is in the
// state store is not its starting point: those rows have the window's effects under the current rules
// in them already, so nothing could come apart. Both sides start from nothing, or from what an
// earlier part of the log made under the current rules, so that a difference is due to the rules alone.
//
// Comparing is pure (compare.go, cause.go); reading is in log.go. Run owns all it opens.
package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/consume"
)

// Config says what is rehearsed on which part of the log.
type Config struct {
	Brokers []string
	Access  []kgo.Opt // to the log: TLS, SASL
	Tenant  uuid.UUID
	Current event.Settings
	New     event.Settings

	// Since begins the window, by received_at. Zero: with the log.
	Since time.Time
	// From, where it is before Since, begins what both sides read under the current settings first.
	// Zero: with the log. Equal to Since: both sides start from nothing.
	From time.Time
	// MaxEvents bounds the distinct events that are taken, and with them memory. What comes after
	// is not read.
	MaxEvents int
	Limits    event.Limits // of an event: the processor's

	// Progress is told how many of the window's records are read, other tenants' included. May be nil.
	Progress func(done, total int64)
}

// DefaultMaxEvents takes about half a gigabyte with a shop's ordinary traffic (217 000 events took 200 MB,
// 100 of them whatever the number). What it takes grows with message ids, identifiers and attributes.
const DefaultMaxEvents = 1_000_000

// DefaultConfig lacks Brokers, Tenant and the settings; its window is the whole log.
func DefaultConfig() Config {
	return Config{MaxEvents: DefaultMaxEvents, Limits: event.DefaultLimits()}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("brokers must name at least one"))
	}
	if c.Tenant == uuid.Nil {
		errs = append(errs, errors.New("tenant must be given"))
	}
	if c.MaxEvents < 1 {
		errs = append(errs, errors.New("max_events must be positive"))
	}
	if c.From.After(c.Since) {
		errs = append(errs, errors.New("from must not be after since"))
	}
	if err := c.New.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("new settings: %w", err))
	}
	return errors.Join(errs...)
}

// Run reads and compares.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the simulation: %w", err)
	}
	log, err := openLog(ctx, cfg.Brokers, cfg.Tenant, cfg.From, cfg.Access...)
	if err != nil {
		return nil, err
	}
	defer log.close()
	log.progress = cfg.Progress
	r := newRehearsal(cfg)
	for {
		x, err := log.next(ctx)
		if err != nil {
			return nil, err
		}
		if x == nil || !r.take(x) {
			break
		}
	}
	r.reading.Records, r.reading.Unreadable, r.reading.Shortened = log.done, log.unreadable, log.shortened
	return r.report(), nil
}

// rehearsal is the two sides and what was read for them. It belongs to one goroutine.
type rehearsal struct {
	Config
	decoder      consume.Decoder
	current, new *side
	a, b         apply.Event // scratch: the record at hand, as each side reads it
	// seen has a bit for each side that has applied the message: one that names nobody under one
	// side's rules is remembered by the other alone, as the processor does.
	seen    map[string]uint8
	reading Reading
}

const (
	seenByCurrent uint8 = 1 << iota
	seenByNew
)

func newRehearsal(cfg Config) *rehearsal {
	return &rehearsal{Config: cfg, decoder: consume.Decoder{Limits: cfg.Limits}, current: newSide(), new: newSide(), seen: map[string]uint8{}}
}

// take applies a record to both sides. It is false once there are too many events.
func (r *rehearsal) take(x *record) bool {
	settings := &r.New
	if x.meta.ReceivedAt.Before(r.Since) {
		settings = &r.Current
	}
	currently := r.current.read(&r.decoder, x, &r.Current, &r.a)
	newly := r.new.read(&r.decoder, x, settings, &r.b)
	if !currently && !newly {
		r.reading.moment(x)
		return true
	}
	id := r.a.MessageID
	if !currently {
		id = r.b.MessageID
	}
	seen, known := r.seen[id]
	if !known && len(r.seen) == r.MaxEvents {
		r.reading.Truncated = true
		return false
	}
	r.reading.moment(x)
	if !known {
		r.reading.Events++
		if !x.meta.ReceivedAt.Before(r.Since) {
			r.reading.InWindow++
		}
	} else {
		r.reading.Repeated++
	}
	keep(&r.a, &r.b)
	if currently && seen&seenByCurrent == 0 {
		seen |= seenByCurrent
		r.current.apply(x.lane, &r.Current, &r.a)
	}
	if newly && seen&seenByNew == 0 {
		seen |= seenByNew
		r.new.apply(x.lane, settings, &r.b)
	}
	r.seen[id] = seen
	return true
}

// keep gives both sides one copy of what becomes attributes: those are made of slices of it, and the
// record's own memory is a whole fetch. Nothing else of a payload matters.
func keep(a, b *apply.Event) {
	e := a
	if e.Type == event.Unknown { // not read by that side
		e = b
	}
	var payload []byte
	if e.Type == event.Identify || e.Type == event.Group {
		payload = bytes.Clone(e.Payload)
	}
	traits := bytes.Clone(e.Traits)
	a.Payload, a.Traits = payload, traits
	b.Payload, b.Traits = payload, traits
}

func (r *rehearsal) report() *Report {
	current, proposed := r.current.outcome(), r.new.outcome()
	report := &Report{
		Tenant: r.Tenant, Reading: r.reading,
		CurrentSettings: r.Current, NewSettings: r.New,
		Current: r.current.totals(current), New: r.new.totals(proposed),
		Comparison: Compare(current, proposed),
	}
	if !r.Since.IsZero() {
		report.Since = &r.Since
	}
	if r.From.Before(r.Since) && !r.From.IsZero() {
		report.From = &r.From
	}
	report.History = r.From.Before(r.Since)
	report.count()
	return report
}
