package sink

import (
	"encoding/binary"

	"github.com/keystone-cdp/keystone/analytics/sink/largepage"
	"github.com/keystone-cdp/keystone/analytics/sink/seen"
)

// claims are the messages a batch holds: also those that turn out to be in the table.
type claims struct {
	number uint32 // under which pending knows them; 0 while there are none
	hashes []uint64
	texts  []byte // of the messages: tenant, length of the id, id
}

func (c *claims) reset() { c.hashes, c.texts = c.hashes[:0], c.texts[:0] }

// memory is how many bytes the claims hold on to, also when there are none.
func (c *claims) memory() int { return 8*cap(c.hashes) + cap(c.texts) }

// add keeps a message and answers where.
func (c *claims) add(hash uint64, m message) (at int) {
	at = len(c.texts)
	c.hashes = append(c.hashes, hash)
	c.texts = append(c.texts, m.tenant[:]...)
	c.texts = binary.LittleEndian.AppendUint32(c.texts, uint32(len(m.id)))
	c.texts = append(c.texts, m.id...)
	return at
}

// is tells whether m is the message there.
func (c *claims) is(at int, m message) bool {
	text := c.texts[at:]
	if string(text[:len(m.tenant)]) != string(m.tenant[:]) {
		return false
	}
	text = text[len(m.tenant):]
	n := int(binary.LittleEndian.Uint32(text))
	return string(text[4:4+n]) == m.id
}

// pending is the messages in batches, by hash: open addressing, at most half full, without a pointer for the
// garbage collector to follow.
type pending struct {
	slots   []pendingSlot // a power of two of them
	count   int
	batches []*claims // by number-1; nil is a number that is free
}

type pendingSlot struct {
	hash  uint64
	batch uint32 // whose it is; 0 is free
	text  uint32 // where it is in the batch's claims, which the bytes of a batch bound
}

const minPending = 1 << 12

func newPending() pending { return pending{slots: make([]pendingSlot, minPending)} }

// find answers the slot of a hash, or the one it would go to.
func (p *pending) find(hash uint64) (slot uint64, found bool) {
	mask := uint64(len(p.slots) - 1)
	for slot = hash & mask; ; slot = (slot + 1) & mask {
		switch s := &p.slots[slot]; {
		case s.batch == 0:
			return slot, false
		case s.hash == hash:
			return slot, true
		}
	}
}

// holds tells whether the message there is m.
func (p *pending) holds(slot uint64, m message) bool {
	s := &p.slots[slot]
	return p.batches[s.batch-1].is(int(s.text), m)
}

// add puts a message, whose hash is not there, into the slot that find answered, for a batch.
func (p *pending) add(slot uint64, c *claims, hash uint64, m message) {
	if c.number == 0 {
		p.enter(c)
	}
	p.slots[slot] = pendingSlot{hash: hash, batch: c.number, text: uint32(c.add(hash, m))}
	if p.count++; 2*p.count > len(p.slots) {
		p.grow()
	}
}

func (p *pending) enter(c *claims) {
	for i := range p.batches {
		if p.batches[i] == nil {
			p.batches[i], c.number = c, uint32(i+1)
			return
		}
	}
	p.batches = append(p.batches, c)
	c.number = uint32(len(p.batches))
}

func (p *pending) grow() {
	old := p.slots
	p.slots = largepage.Make[pendingSlot](2 * len(old))
	for i := range old {
		if old[i].batch != 0 {
			slot, _ := p.find(old[i].hash)
			p.slots[slot] = old[i]
		}
	}
}

// drop takes all of a batch's out.
func (p *pending) drop(c *claims) {
	for some := range seen.Chunks(c.hashes) {
		p.touch(some)
		for _, hash := range some {
			if slot, found := p.find(hash); found {
				p.remove(slot)
			}
		}
	}
	if c.number > 0 {
		p.batches[c.number-1], c.number = nil, 0
	}
}

// remove frees a slot, and has what comes after it and belongs further up move there.
func (p *pending) remove(slot uint64) {
	mask := uint64(len(p.slots) - 1)
	for next := (slot + 1) & mask; p.slots[next].batch != 0; next = (next + 1) & mask {
		if home := p.slots[next].hash & mask; (next-home)&mask >= (next-slot)&mask {
			p.slots[slot] = p.slots[next]
			slot = next
		}
	}
	p.slots[slot] = pendingSlot{}
	p.count--
}

// touch has the memory of hashes' slots fetched: see seen.Window.Touch. (In line, where nobody wants
// the sum, nothing would be read.)
//
//go:noinline
func (p *pending) touch(hashes []uint64) (sum uint64) {
	mask := uint64(len(p.slots) - 1)
	for _, hash := range hashes {
		sum += p.slots[hash&mask].hash
	}
	return sum
}
