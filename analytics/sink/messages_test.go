package sink

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func hashOf(m message) uint64 {
	var h hasher
	return h.hash(m)
}

func TestMessagesVerdicts(t *testing.T) {
	s := newMessages(time.Hour, 1000)
	m := message{tenant, "m"}
	var batch claims
	claim := func(want verdict) {
		t.Helper()
		if got := s.claim(&batch, hashOf(m), m); got != want {
			t.Errorf("verdict %d, want %d", got, want)
		}
	}
	claim(fresh)
	claim(duplicate) // it is in a batch
	s.giveUp(&batch)
	batch.reset()
	claim(fresh) // the batch was never inserted
	s.done(noon, &batch)
	batch.reset()
	claim(suspect)   // it was: ask the table
	claim(duplicate) // who asks holds it
}

func TestMessagesToldApart(t *testing.T) {
	a, b := message{tenant, "m"}, message{node("anonymous", "other"), "m"}
	if hashOf(a) == hashOf(b) {
		t.Error("one id in two tenants is one message")
	}
	s := newMessages(time.Hour, 1000)
	var first, second claims
	if v := s.claim(&first, 7, a); v != fresh || len(first.hashes) != 1 {
		t.Error("first")
	}
	// Two messages of one hash: the second is taken, and not held.
	if v := s.claim(&second, 7, b); v != fresh || len(second.hashes) != 0 {
		t.Error("second")
	}
	s.giveUp(&second)
	if v := s.claim(&second, 7, a); v != duplicate {
		t.Error("the first is held yet")
	}
	s.giveUp(&first)
	if v := s.claim(&second, 7, b); v != fresh || len(second.hashes) != 1 {
		t.Error("after the first is gone")
	}
}

// Whatever batches do, a message that is in the table is never fresh, and one that is in a batch is
// never taken by another.
func TestMessagesLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newMessages(time.Hour, 1000)
		const lanes = 3
		var held [lanes]claims
		table, inBatch := map[uint64]bool{}, map[uint64]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				lane := rapid.IntRange(0, lanes-1).Draw(t, "lane")
				m := message{tenant, rapid.StringMatching(`[a-e]`).Draw(t, "id")}
				h := hashOf(m)
				before := len(held[lane].hashes)
				v := s.claim(&held[lane], h, m)
				switch {
				case inBatch[h] && v != duplicate:
					t.Fatalf("taken twice")
				case !inBatch[h] && table[h] && v != suspect:
					t.Fatalf("in the table and not suspected")
				case !inBatch[h] && !table[h] && v != fresh:
					t.Fatalf("dropped or suspected without reason")
				}
				if len(held[lane].hashes) > before {
					inBatch[h] = true
				}
			},
			"done": func(t *rapid.T) {
				lane := rapid.IntRange(0, lanes-1).Draw(t, "lane")
				s.done(noon, &held[lane])
				for _, h := range held[lane].hashes {
					table[h] = true
					delete(inBatch, h)
				}
				held[lane].reset()
			},
			"give up": func(t *rapid.T) {
				lane := rapid.IntRange(0, lanes-1).Draw(t, "lane")
				s.giveUp(&held[lane])
				for _, h := range held[lane].hashes {
					delete(inBatch, h)
				}
				held[lane].reset()
			},
		})
	})
}
