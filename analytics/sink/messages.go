package sink

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/sink/seen"
)

// messages finds the messages that reached the log twice: a client that got no answer sends again,
// and both may have been taken. All partitions of the process share one, so it also finds a message
// that came once by each lane. It is exact within its window, because nothing is dropped on a hash
// alone:
//
//   - a message that is in a batch not inserted yet is compared itself;
//   - a message whose hash is in the window is looked up in the table (see suspects).
//
// Of the partitions that other processes have it knows what is in the table: see others.
type messages struct {
	mu      sync.Mutex
	window  *seen.Window       // of messages in the table
	pending map[uint64]message // of messages in batches, by hash
}

// message is what makes an event that event.
type message struct {
	tenant uuid.UUID
	id     string
}

// verdict is what is known of a message.
type verdict uint8

const (
	fresh     verdict = iota // not seen: take it
	duplicate                // in a batch already: drop it
	suspect                  // perhaps in the table: look it up
)

func newMessages(window time.Duration, limit int) *messages {
	return &messages{window: seen.New(window, limit), pending: map[uint64]message{}}
}

// hasher hashes messages. It is used by one goroutine.
type hasher struct {
	tenant uuid.UUID
	text   []byte // of the tenant, and room for an id
}

// hash is xxHash64(concat(toString(tenant_id), message_id)), as ClickHouse computes it.
func (h *hasher) hash(m message) uint64 {
	const tenantText = len("00000000-0000-0000-0000-000000000000")
	if len(h.text) == 0 || h.tenant != m.tenant {
		h.tenant, h.text = m.tenant, append(h.text[:0], m.tenant.String()...)
	}
	h.text = append(h.text[:tenantText], m.id...)
	return xxhash.Sum64(h.text)
}

// claim judges a message and, unless it is a duplicate, holds it for the caller's batch until done
// or giveUp: another batch that meets it meanwhile has a duplicate. That is right even where the
// holder drops it (then the table has it) or gives up (then its offset is read again). The message's
// id must live until then.
//
// Two messages of one hash in two batches, one chance in 10^13: the second is not held.
func (s *messages) claim(hash uint64, m message) (v verdict, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	other, taken := s.pending[hash]
	if taken && other == m {
		return duplicate, false
	}
	if !taken {
		s.pending[hash] = m
	}
	if s.window.Has(hash) {
		return suspect, !taken
	}
	return fresh, !taken
}

// done says that the messages of these hashes are in the table.
func (s *messages) done(now time.Time, hashes []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hashes {
		delete(s.pending, h)
		s.window.Add(now, h)
	}
}

// giveUp says that a batch will not be inserted by this process.
func (s *messages) giveUp(hashes []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hashes {
		delete(s.pending, h)
	}
}

// remember adds what is in the table from before.
func (s *messages) remember(at time.Time, hashes []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hashes {
		s.window.Add(at, h)
	}
}

// has tells whether a message was seen, here or elsewhere; now and then one is mistaken for another.
func (s *messages) has(hash uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, pending := s.pending[hash]
	return pending || s.window.Has(hash)
}

// memory tells how many messages are remembered and since when.
func (s *messages) memory() (n int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.Len(), s.window.Since()
}
