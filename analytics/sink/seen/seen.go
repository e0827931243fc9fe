// Package seen remembers the hashes of what passed within a window of time, in bounded memory. It
// may claim to have seen what it has not (about once in 10^8 questions), so its word is reason to
// look closer and never reason to drop anything; it never denies what it remembers. It is pure: the
// caller brings the clock and the lock.
package seen

import (
	"iter"
	"math/bits"
	"slices"
	"time"

	"github.com/keystone-cdp/keystone/analytics/sink/largepage"
)

// Generations is how many parts the window is cut into: what is forgotten goes one part at a time.
// A look-up asks each of them, so few is fast.
const Generations = 4

// Window remembers hashes in generations, the newest last.
type Window struct {
	length      time.Duration // of the window
	capacity    int           // hashes of one generation
	generations []generation
}

type generation struct {
	born time.Time
	set  set
}

// New makes a window of the given length that holds at most limit hashes, at 7 to 14 bytes each. The
// memory is taken a generation at a time, as it is needed.
func New(length time.Duration, limit int) *Window {
	return &Window{length: length, capacity: max(1, limit/Generations)}
}

// Has tells whether a hash was probably added within the window.
func (w *Window) Has(hash uint64) bool {
	for i := len(w.generations) - 1; i >= 0; i-- {
		if w.generations[i].set.has(hash) {
			return true
		}
	}
	return false
}

// Add remembers a hash. What is older than the window goes; when memory is full, the oldest
// generation goes early and the window is that much shorter.
func (w *Window) Add(now time.Time, hash uint64) {
	n := len(w.generations)
	if n == 0 || w.generations[n-1].set.count >= w.capacity || now.Sub(w.generations[n-1].born) >= w.length/Generations {
		w.turn(now)
		n = len(w.generations)
	}
	w.generations[n-1].set.add(hash)
}

// AddAll is Add for many.
func (w *Window) AddAll(now time.Time, hashes []uint64) {
	for some := range Chunks(hashes) {
		if n := len(w.generations); n > 0 {
			w.generations[n-1].set.touch(some)
		}
		for _, hash := range some {
			w.Add(now, hash)
		}
	}
}

// Touch reads where hashes are or would be and answers nothing of use. A look-up waits for memory that is in no
// cache, and only then is told how to go on; these reads wait for nothing, so that the processor has many
// under way at once, and the look-ups that follow find all of it near.
func (w *Window) Touch(hashes []uint64) (sum uint64) {
	for i := range w.generations {
		sum += w.generations[i].set.touch(hashes)
	}
	return sum
}

// Chunks cuts hashes into as many as it is good to touch at once.
func Chunks(hashes []uint64) iter.Seq[[]uint64] { return slices.Chunk(hashes, 64) }

// turn begins a generation. The oldest one goes when there are too many, or when the one after it
// began before the window.
func (w *Window) turn(now time.Time) {
	n := len(w.generations)
	if n < Generations && (n < 2 || now.Sub(w.generations[1].born) < w.length) {
		w.generations = append(w.generations, generation{born: now, set: newSet(w.capacity)})
		return
	}
	set := w.generations[0].set
	set.clear()
	copy(w.generations, w.generations[1:])
	w.generations[n-1] = generation{born: now, set: set}
}

// Len is the number of hashes remembered.
func (w *Window) Len() (n int) {
	for i := range w.generations {
		n += w.generations[i].set.count
	}
	return n
}

// Since is how far back the memory reaches; the zero time while nothing was ever added.
func (w *Window) Since() time.Time {
	if len(w.generations) == 0 {
		return time.Time{}
	}
	return w.generations[0].born
}

// set holds 32-bit fingerprints by open addressing. The place comes from the upper half of the hash
// and the fingerprint from the lower, so two hashes are mistaken for each other only when both agree.
type set struct {
	slots []uint32 // 0 is free; a power of two of them
	count int
}

func newSet(capacity int) set {
	// At most 0.6 full: a look-up of something absent reads about four neighbouring slots.
	slots := uint(capacity)*5/3 + 1
	return set{slots: largepage.Make[uint32](1 << bits.Len(slots))}
}

func (s *set) has(hash uint64) bool {
	_, found := s.find(hash)
	return found
}

func (s *set) add(hash uint64) {
	if slot, found := s.find(hash); !found {
		s.slots[slot] = fingerprint(hash)
		s.count++
	}
}

func (s *set) find(hash uint64) (slot uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	want := fingerprint(hash)
	for slot = hash >> 32 & mask; ; slot = (slot + 1) & mask {
		switch s.slots[slot] {
		case 0:
			return slot, false
		case want:
			return slot, true
		}
	}
}

// touch is Touch for a part. (In line, where nobody wants the sum, nothing would be read.)
//
//go:noinline
func (s *set) touch(hashes []uint64) (sum uint64) {
	mask := uint64(len(s.slots) - 1)
	for _, hash := range hashes {
		sum += uint64(s.slots[hash>>32&mask])
	}
	return sum
}

func (s *set) clear() {
	clear(s.slots)
	s.count = 0
}

func fingerprint(hash uint64) uint32 { return max(1, uint32(hash)) }
