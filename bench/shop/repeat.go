package shop

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Repetitions are kept as bytes: at most keepRepeats at a time, for at most longestRepeat deliveries.
const (
	keepRepeats   = 64
	longestRepeat = 400
)

// repeats are the events that will be delivered again.
type repeats struct {
	all   [keepRepeats]kept
	first int // the delivery before which none is due
}

type kept struct {
	body     []byte // empty: the place is free
	delivery Delivery
	due      int
}

// keep remembers an event for a later delivery. Where all places are taken it comes only once.
func (r *repeats) keep(body []byte, d Delivery, now int, rng *rand.Rand) {
	due := now + 1
	if rng.IntN(4) > 0 { // else: a client that lost the answer repeats at once
		due += rng.IntN(longestRepeat)
	}
	i := slices.IndexFunc(r.all[:], func(k kept) bool { return len(k.body) == 0 })
	if i < 0 {
		return
	}
	k := &r.all[i]
	k.body, k.delivery, k.due = append(k.body[:0], body...), d, due
	r.first = min(r.first, due)
}

// due is an event to deliver again now, or nil. The caller empties it.
func (r *repeats) due(now int) *kept {
	if now < r.first {
		return nil
	}
	r.first = math.MaxInt
	var found *kept
	for i := range r.all {
		k := &r.all[i]
		switch {
		case len(k.body) == 0:
		case k.due <= now && found == nil:
			found = k
		default:
			r.first = min(r.first, k.due)
		}
	}
	return found
}

// any is any event that is yet to be delivered again, or nil.
func (r *repeats) any() *kept { return r.due(math.MaxInt - 1) }
