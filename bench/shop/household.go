package shop

// household is whoever shares a roof and some devices: one or two people, one to three devices, one
// cart. It is kept small, because a long stream has many of them waiting for their next visit.
type household struct {
	key     uint64 // of all names and ids: the same seed and arrival give the same people
	serial  uint32 // which arrival it was
	next    int32  // of the wheel's list
	country uint8
	bot     bool
	visits  uint8 // still to come
	people  [2]person
	devices [3]device
	owned   uint8 // how many devices
	two     bool  // how many people
	cart    cart
	order   order
	visit   visit
}

type person struct {
	customer   bool // has an account or will open one
	newsletter bool // gives the address for a newsletter first
	known      bool // has named themselves
	joined     bool // has logged in once: the account exists
	phoned     bool // has told the phone number
	remailed   bool // uses the second email address
	city       uint8
	tier       uint8
	interests  uint8 // bits
}

type device struct {
	used    bool
	shadow  bool  // seen, but nobody named themselves yet
	owners  uint8 // bits: who named themselves here
	account uint8 // 1 + who is logged in, 0: nobody
}

// maxLines bounds a cart.
const maxLines = 6

type line struct {
	product  uint16
	quantity uint8
}

type cart struct {
	lines  [maxLines]line
	n      uint8
	serial uint8 // how many carts this household has had
}

// The statuses of an order; a status never goes back.
const (
	orderIncomplete = 1 + iota
	orderCompleted
	orderCancelled
	orderRefunded
)

// order is the household's last one.
type order struct {
	serial   uint64 // 0: none yet
	lines    [maxLines]line
	n        uint8
	status   uint8
	person   uint8
	device   uint8
	total    int64 // hundredths
	shipping int64
	tax      int64
	discount int64
	followUp uint8 // orderCancelled or orderRefunded: what will become of it; 0: nothing
}

// found moves a household in.
func (s *Stream) found(h *household, at int64) {
	s.arrived++
	s.truth.Households++
	*h = household{serial: uint32(s.arrived), key: mix(s.salt + uint64(s.arrived)), next: nobodyNext}
	h.country = pickCountry(s.rng)
	h.visit.at = at
	h.owned = 1
	if h.bot = s.chance(s.cfg.Mix.Bot); h.bot {
		h.visits = 1
		return
	}
	h.visits = uint8(1 + min(s.rng.ExpFloat64()*1.6, 12))
	if h.two = s.chance(s.cfg.Mix.Shared); h.two {
		h.visits += 3 // so that both come
	}
	if r := s.rng.Float64(); r < 0.10 {
		h.owned = 3
	} else if r < 0.40 {
		h.owned = 2
	}
	for i := range h.people {
		p := &h.people[i]
		p.customer = h.two || s.chance(s.cfg.Mix.Customer)
		p.newsletter = p.customer && !h.phoneFirst(i) && s.chance(s.cfg.Mix.Newsletter)
		p.city = uint8(s.rng.IntN(len(countries[h.country].cities)))
		p.interests = uint8(1 << s.rng.IntN(len(interests)))
	}
}

// leave frees a household's place.
func (s *Stream) leave(i int32) { s.free = append(s.free, i) }

// The traits of a household that never change are bits of its key.

// phoneFirst tells that a person's account goes by a phone number, and no email is known.
func (h *household) phoneFirst(p int) bool { return h.bits(8+p, 100) < 8 }

// remails tells that a person will change the email address. Only people whose events carry the
// customer number do, so that it is never unclear whose the new address is.
func (h *household) remails(p int) bool { return h.bits(4+p, 100) < 5 && h.style(p) != styleHandle }

// How a logged-in person's events name them.
const (
	styleCRM    = iota // "identity":"4711000000123"
	styleNumber        // "identity":4711000000123
	styleHandle        // "identity":"Ann@example.com"
)

func (h *household) style(p int) int {
	switch n := h.bits(2+p, 10); {
	case n < 5:
		return styleCRM
	case n < 7:
		return styleNumber
	}
	return styleHandle
}

// bits draws a number below n from the household's key; which tells the draws apart.
func (h *household) bits(which int, n uint64) uint64 {
	return mix(h.key+uint64(which)*0x9e3779b97f4a7c15) % n
}
