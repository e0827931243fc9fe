// Package shop makes the behaviour of an online shop's visitors, as a stream of events in the form
// POST /ingest takes: people with several devices who browse without a name, log in late, fill
// carts, order, cancel, move house and share a computer, among crawlers, repeated and late
// deliveries. The same seed gives the same bytes. It is input for demos, tests and load; it does
// not send anything, and shares no code with what it exercises.
//
// Memory is a few hundred bytes for each household that is between its first and its last visit,
// whatever the length of the stream. A Stream belongs to one goroutine.
package shop

import (
	"iter"
	"math/rand/v2"
	"time"
)

// Delivery is what the stream knows about one event beside its bytes.
type Delivery struct {
	// Lane is the household the event comes from. A lane's events must reach Keystone in their order,
	// or what came first on a device is no longer what Truth says.
	Lane uint64
	Type Type
	// Repeat tells that the same message id was delivered before.
	Repeat bool
	// Invalid is the code of the error (spec 1.3) that must meet the event; empty where it is good.
	Invalid string
}

// Type is the type of an event.
type Type uint8

// The types that a shop's pages send.
const (
	Identify Type = iota
	Track
	Page
)

var typeNames = [...]string{"identify", "track", "page"}

func (t Type) String() string { return typeNames[t] }

// Stream is one run of the shop. Make it with New.
type Stream struct {
	cfg        Config
	rng        *rand.Rand
	wheel      wheel
	households []household
	free       []int32 // households that are gone, by index
	arrived    int     // households so far
	pause      float64 // mean milliseconds between two arrivals
	nextAt     float64 // when the next household arrives, in milliseconds since 1970
	salt       uint64  // of all ids of this stream
	tag        uint64  // of all people and orders of this stream: seed modulo seedTags
	messages   uint64
	orders     uint64
	deliveries int
	repeats    repeats
	truth      Truth
	products   []bool // by index: named so far

	// Of the event being written:
	event   []byte
	now     int64 // milliseconds since 1970
	visitor *household
	sender  whom
	day     int64 // since 1970, and a timestamp of it
	stamp   [len("2006-01-02T00:00:00.000Z")]byte
}

// seedTags is how many streams can share a tenant without sharing people or orders.
const seedTags = 1000

// door is the entry in the wheel that stands for the next arrival.
const door = 0

// New makes the stream. The configuration must be valid.
func New(cfg Config) (*Stream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	users := cfg.Users
	if users == 0 {
		// A little faster than needed, so that the last event falls within the span.
		users = 1 + int(1.3*float64(cfg.Events)/cfg.Mix.EventsPerUser)
	}
	start := cfg.Start.UnixMilli()
	s := &Stream{
		cfg:        cfg,
		rng:        rand.New(rand.NewPCG(cfg.Seed, 0x6b657973746f6e65)),
		households: make([]household, 1, 1024),
		pause:      float64(cfg.Span.Milliseconds()) / float64(users),
		nextAt:     float64(start),
		salt:       mix(cfg.Seed + 0x9e3779b97f4a7c15),
		tag:        cfg.Seed % seedTags,
		products:   make([]bool, len(catalogue)),
		truth:      Truth{Orders: map[string]int{}, Revenue: map[string]int64{}},
	}
	s.wheel.start(start)
	s.wheel.add(s.households, door, start)
	return s, nil
}

// Next appends the next event to dst. It answers false once the stream is over.
func (s *Stream) Next(dst []byte) ([]byte, Delivery, bool) {
	if s.cfg.Events > 0 && s.deliveries >= s.cfg.Events {
		return dst, Delivery{}, false
	}
	if again := s.repeats.due(s.deliveries); again != nil {
		return s.repeat(dst, again)
	}
	if s.cfg.Invalid > 0 && s.chance(s.cfg.Invalid) {
		return s.invalid(dst)
	}
	for {
		i, ok := s.wheel.next(s.households)
		switch {
		case ok && i == door:
			i, ok = s.arrive()
			if !ok {
				continue
			}
		case !ok:
			if again := s.repeats.any(); again != nil {
				return s.repeat(dst, again)
			}
			return dst, Delivery{}, false
		}
		start := len(dst)
		s.event, s.visitor = dst, &s.households[i]
		d := s.live(i)
		if s.chance(s.cfg.Mix.Duplicate) {
			s.repeats.keep(s.event[start:], d, s.deliveries, s.rng)
		}
		s.deliveries++
		return s.event, d, true
	}
}

// All yields every event of the stream. The bytes are valid until the next one is asked for.
func (s *Stream) All() iter.Seq2[[]byte, Delivery] {
	return func(yield func([]byte, Delivery) bool) {
		var buf []byte
		for {
			out, d, ok := s.Next(buf[:0])
			if !ok || !yield(out, d) {
				return
			}
			buf = out
		}
	}
}

// arrive lets the next household in, unless all have come.
func (s *Stream) arrive() (int32, bool) {
	if s.cfg.Users > 0 && s.arrived == s.cfg.Users {
		return 0, false
	}
	at := int64(s.nextAt)
	s.nextAt += s.pause * s.rng.ExpFloat64()
	s.wheel.add(s.households, door, int64(s.nextAt))
	var i int32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.households = append(s.households, household{})
		i = int32(len(s.households) - 1)
	}
	s.found(&s.households[i], at)
	return i, true
}

// repeat delivers an event once more.
func (s *Stream) repeat(dst []byte, again *kept) ([]byte, Delivery, bool) {
	dst = append(dst, again.body...)
	d := again.delivery
	d.Repeat = true
	again.delivery = Delivery{}
	again.body = again.body[:0]
	s.truth.Duplicates++
	s.deliveries++
	return dst, d, true
}

// Truth is what must have come of all events handed out so far.
func (s *Stream) Truth() Truth {
	t := s.truth.clone()
	t.Deliveries = s.deliveries
	return t
}

func (s *Stream) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// between is a whole number from lo to hi, both included.
func (s *Stream) between(lo, hi int64) int64 { return lo + s.rng.Int64N(hi-lo+1) }

// mix is the finaliser of SplitMix64: it makes well-spread ids of counters.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// DefaultStart is when streams begin unless told otherwise: a constant, so that they are the same
// every day.
var DefaultStart = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
