package shop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/internal/event"
)

func stream(tb testing.TB, change func(*Config)) *Stream {
	tb.Helper()
	cfg := DefaultConfig()
	change(&cfg)
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mixes() []Mix { return []Mix{DefaultMix(), AnonymousMix(), IdentifyStormMix()} }

// golden are the bytes of three thousand events of seed 1. Where a change of the generator is meant,
// they change with it; where not, results of before and after can no longer be compared.
var golden = map[string]string{
	"default":        "80cde873b745b7c5",
	"anonymous":      "3456694bb8317600",
	"identify_storm": "c65bf9934f90b815",
}

func TestSameSeedSameBytes(t *testing.T) {
	digest := func(m Mix, seed uint64) string {
		sum := sha256.New()
		for body := range stream(t, func(c *Config) { c.Mix, c.Seed, c.Events = m, seed, 3_000 }).All() {
			sum.Write(body)
			sum.Write([]byte{'\n'})
		}
		return hex.EncodeToString(sum.Sum(nil)[:8])
	}
	for _, m := range mixes() {
		if got := digest(m, 1); got != golden[m.Name] {
			t.Errorf("%s: got %s, want %s", m.Name, got, golden[m.Name])
		}
		if digest(m, 2) == digest(m, 1) {
			t.Errorf("%s: two seeds give the same", m.Name)
		}
	}
}

// Next appends and leaves alone what the buffer holds.
func TestNextAppends(t *testing.T) {
	s := stream(t, func(c *Config) { c.Events = 500 })
	var all []byte
	var ends []int
	for {
		out, _, ok := s.Next(all)
		if !ok {
			break
		}
		all = out
		ends = append(ends, len(all))
	}
	start, i := 0, 0
	for body := range stream(t, func(c *Config) { c.Events = 500 }).All() {
		if !bytes.Equal(body, all[start:ends[i]]) {
			t.Fatalf("event %d differs", i)
		}
		start = ends[i]
		i++
	}
	if i != 500 || i != len(ends) {
		t.Errorf("%d and %d events", i, len(ends))
	}
}

// Every good event decodes and names somebody; every bad one meets the code that was foretold.
func TestEveryEventMeetsItsFate(t *testing.T) {
	tenant, settings := uuid.New(), event.DefaultSettings()
	for _, m := range mixes() {
		var e event.Event
		var ids event.Identifiers
		seen := map[string]bool{}
		var repeated, invalid int
		for body, d := range stream(t, func(c *Config) { c.Mix, c.Invalid, c.Events = m, 0.05, 2_500 }).All() {
			err := e.Decode(body, event.DefaultLimits())
			code := ""
			var verdict *event.Error
			if errors.As(err, &verdict) {
				code = verdict.Code
			} else if e.Identifiers(tenant, &settings, &ids); ids.Empty() {
				code = event.CodeInvalidEvent
			}
			if code != d.Invalid {
				t.Fatalf("%s: got %q, want %q: %v\n%s", m.Name, code, d.Invalid, err, body)
			}
			if d.Invalid != "" {
				invalid++
				continue
			}
			if e.Type.String() != d.Type.String() {
				t.Fatalf("%s: got %s, want %s", m.Name, e.Type, d.Type)
			}
			if _, note := e.Time(time.Now().Add(100 * 365 * 24 * time.Hour)); note != event.TimeOK {
				t.Fatalf("%s: time note %d: %s", m.Name, note, e.Timestamp)
			}
			if d.Repeat != seen[string(e.MessageID)] {
				t.Fatalf("%s: repeat is %v", m.Name, d.Repeat)
			}
			if d.Repeat {
				repeated++
			}
			seen[string(e.MessageID)] = true
		}
		if invalid == 0 || repeated == 0 {
			t.Errorf("%s: %d invalid, %d repeated", m.Name, invalid, repeated)
		}
	}
}

// The identifiers that Keystone reads out of the events are as many of each kind as the shop's books
// say: no phone number is taken for a customer number, no spelling of an address for another one.
func TestIdentifiersAreReadAsMeant(t *testing.T) {
	settings := event.DefaultSettings()
	s := stream(t, func(c *Config) { c.Events = 3_000 })
	distinct := map[string]map[string]bool{}
	for body := range s.All() {
		var e event.Event
		var ids event.Identifiers
		if err := e.Decode(body, event.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		e.Identifiers(uuid.Nil, &settings, &ids)
		for _, id := range append(ids.Anonymous, ids.Verified...) {
			if distinct[id.Kind] == nil {
				distinct[id.Kind] = map[string]bool{}
			}
			distinct[id.Kind][id.Value] = true
		}
	}
	truth := s.Truth()
	for kind, want := range map[string]int{event.KindAnonymous: truth.Devices, event.KindEmail: truth.Emails, event.KindPhone: truth.Phones, event.KindCRM: truth.CRMIDs} {
		if got := len(distinct[kind]); got != want || want == 0 {
			t.Errorf("%s: %d distinct, want %d", kind, got, want)
		}
	}
}

func TestInvalidEventsShowEveryMistake(t *testing.T) {
	left := map[string]bool{}
	for _, m := range mistakes {
		left[m] = true
	}
	for body, d := range stream(t, func(c *Config) { c.Invalid, c.Events = 1, 500 }).All() {
		_, mistake, ok := bytes.Cut(body, []byte(`",`))
		if !ok || !left[string(mistake)] && !strings.Contains(strings.Join(mistakes[:], "\n"), string(mistake)) || d.Invalid == "" {
			t.Fatalf("%s", body)
		}
		delete(left, string(mistake))
	}
	if len(left) > 0 {
		t.Errorf("never seen: %v", left)
	}
}

func TestProportions(t *testing.T) {
	share := func(n, of int) float64 { return float64(n) / float64(max(of, 1)) }
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if got < want-tolerance || got > want+tolerance {
			t.Errorf("%s: got %.4f, want %.4f ± %.4f", what, got, want, tolerance)
		}
	}
	for _, m := range mixes() {
		s := stream(t, func(c *Config) { c.Mix, c.Events, c.Invalid = m, 30_000, 0.01 })
		var anonymousPages, bots, late, days int
		lanes := map[uint64]bool{}
		for body, d := range s.All() {
			if d.Type == Page && d.Invalid == "" && (s.sender.identity == nameless || d.Repeat) {
				anonymousPages++
			}
			if bytes.Contains(body, []byte("bot")) && !lanes[d.Lane] && d.Invalid == "" && s.visitor.bot {
				bots++
			}
			lanes[d.Lane] = true
			if s.visitor.visit.late > 0 {
				late++
			}
			days = int(time.UnixMilli(s.now).Sub(s.cfg.Start).Hours() / 24)
		}
		truth := s.Truth()
		near(m.Name+": duplicates", share(truth.Duplicates, truth.Deliveries), m.Duplicate, 0.004)
		near(m.Name+": invalid", share(truth.Invalid, truth.Deliveries), 0.01, 0.002)
		near(m.Name+": bots", share(bots, truth.Households), m.Bot, 0.02)
		near(m.Name+": late", share(late, truth.Deliveries), m.Late, 0.012)
		near(m.Name+": events per household", share(truth.Messages, truth.Households)/m.EventsPerUser, 0.9, 0.15)
		if days < 15 || days >= 30 {
			t.Errorf("%s: the stream lasts %d days of 30", m.Name, days)
		}
		switch m.Name {
		case "default":
			near("identifies", share(truth.Identifies, truth.Messages), 0.02, 0.01)
			near("tracks", share(truth.Tracks, truth.Messages), 0.36, 0.05)
			near("people", share(truth.People, truth.Households), 0.27, 0.06)
			near("shared devices", share(truth.SharedDevices, truth.Devices), 0.015, 0.01)
			kept := truth.Orders[StatusCompleted] + truth.Orders[StatusCancelled] + truth.Orders[StatusRefunded]
			near("completed", share(kept, kept+truth.Orders[StatusIncomplete]), m.Complete, 0.05)
		case "anonymous":
			near("anonymous page views", share(anonymousPages, truth.Deliveries), 0.95, 0.02)
		case "identify_storm":
			near("identifies", share(truth.Identifies, truth.Messages), 0.56, 0.06)
		}
	}
}

// Households live and go: the stream keeps those between their first and last visit, not all.
func TestMemoryIsOfTheLiving(t *testing.T) {
	s := stream(t, func(c *Config) { c.Events = 50_000; c.Span = 300 * 24 * time.Hour })
	for range s.All() {
	}
	if kept := len(s.households); kept > s.arrived/20 {
		t.Errorf("%d of %d households are kept", kept, s.arrived)
	}
}

// A stream bounded by users lets every household live to its end.
func TestUsersEndTheStream(t *testing.T) {
	s := stream(t, func(c *Config) { c.Events, c.Users = 0, 300 })
	n := 0
	for range s.All() {
		n++
	}
	truth := s.Truth()
	if truth.Households != 300 || truth.Deliveries != n || len(s.free) != len(s.households)-1 {
		t.Errorf("%d households, %d of %d deliveries, %d of %d left", truth.Households, truth.Deliveries, n, len(s.free), len(s.households)-1)
	}
}

// Seeds below a thousand apart share no person, device, order or message.
func TestSeedsShareNobody(t *testing.T) {
	owner := map[string]uint64{}
	for seed := range uint64(4) {
		var e event.Event
		var ids event.Identifiers
		settings := event.DefaultSettings()
		for body := range stream(t, func(c *Config) { c.Seed, c.Events = seed, 1_500 }).All() {
			if err := e.Decode(body, event.DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			e.Identifiers(uuid.Nil, &settings, &ids)
			names := []string{"message " + string(e.MessageID)}
			for _, id := range append(ids.Anonymous, ids.Verified...) {
				names = append(names, id.Kind+" "+id.Value)
			}
			if order := event.Member(e.Payload, "order_id"); order != nil {
				names = append(names, "order "+strings.Trim(string(order), `"`))
			}
			for _, name := range names {
				if first, ok := owner[name]; ok && first != seed {
					t.Fatalf("%s is of seeds %d and %d", name, first, seed)
				}
				owner[name] = seed
			}
		}
	}
}

func TestConfigListsEveryBrokenRule(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	c := DefaultConfig()
	c.Events, c.Users, c.Span, c.Invalid = -1, MaxUsers+1, 0, 2
	c.Mix.Bot, c.Mix.EventsPerUser = -0.1, 0
	err := c.Validate()
	for _, want := range []string{"negative", "users must", "span", "invalid", "bot", "events_per_user"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if _, err := New(c); err == nil {
		t.Error("New takes a broken configuration")
	}
	if _, err := MixByName("sideways"); err == nil {
		t.Error("there is no such mix")
	}
	for _, m := range mixes() {
		if got, err := MixByName(m.Name); err != nil || got != m {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, m := range mixes() {
		b.Run(m.Name, func(b *testing.B) {
			s := stream(b, func(c *Config) { c.Mix, c.Events = m, MaxEvents; c.Span = 20_000 * 24 * time.Hour })
			buf := make([]byte, 0, 8<<10)
			var total int64
			b.ReportAllocs()
			before := machine.CPU()
			for b.Loop() {
				out, _, ok := s.Next(buf[:0])
				if !ok {
					b.Fatal("the stream ended")
				}
				total += int64(len(out))
			}
			b.SetBytes(total / int64(b.N))
			b.ReportMetric(float64(b.N)/(machine.CPU()-before).Seconds(), "events/cpu-s")
		})
	}
}
