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
	window  *seen.Window // of messages in the table
	pending pending      // messages in batches
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
	unjudged                 // not looked for yet
)

func newMessages(window time.Duration, limit int) *messages {
	return &messages{window: seen.New(window, limit), pending: newPending()}
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

// judge claims the messages of a group of records, whose hashes are given. To find out about one waits for memory,
// and to wait for all of them at once takes little longer; nor is the lock taken for each. What may be an erased
// person's is left unjudged: it holds no message unless it is taken.
func (s *messages) judge(c *claims, group []opened, hashes []uint64, e *erased) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(hashes)
	for i := range group {
		if o := &group[i]; o.verdict == unjudged && !e.concerns(o.message.tenant) {
			o.verdict = s.claimed(c, o.hash, o.message)
		}
	}
}

// touch has what is known of messages fetched. Call it with the lock held.
func (s *messages) touch(hashes []uint64) (sum uint64) {
	return s.pending.touch(hashes) + s.window.Touch(hashes)
}

// claim judges a message and, unless it is a duplicate, holds it for the batch whose claims are given until
// done or giveUp: another batch that meets it meanwhile has a duplicate. That is right even where the
// holder drops it (then the table has it) or gives up (then its offset is read again).
//
// Two messages of one hash in two batches, one chance in 10^13: the second is not held.
func (s *messages) claim(c *claims, hash uint64, m message) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed(c, hash, m)
}

// claimed is claim with the lock held.
func (s *messages) claimed(c *claims, hash uint64, m message) verdict {
	slot, taken := s.pending.find(hash)
	if taken && s.pending.holds(slot, m) {
		return duplicate
	}
	if !taken {
		s.pending.add(slot, c, hash, m)
	}
	if s.window.Has(hash) {
		return suspect
	}
	return fresh
}

// done says that a batch's messages are in the table.
func (s *messages) done(now time.Time, c *claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.drop(c)
	s.window.AddAll(now, c.hashes)
}

// giveUp says that a batch will not be inserted by this process.
func (s *messages) giveUp(c *claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending.drop(c)
}

// remember adds what is in the table from before.
func (s *messages) remember(at time.Time, hashes []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.AddAll(at, hashes)
}

// has tells whether a message was seen, here or elsewhere; now and then one is mistaken for another.
func (s *messages) has(hash uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, pending := s.pending.find(hash)
	return pending || s.window.Has(hash)
}

// memory tells how many messages are remembered and since when.
func (s *messages) memory() (n int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.Len(), s.window.Since()
}
