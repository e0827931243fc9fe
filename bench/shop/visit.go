package shop

// visit is a household's present or next visit to the shop.
type visit struct {
	at     int64 // of the next event, in milliseconds since 1970
	late   int64 // by how much older the device says its events are
	next   stage
	person uint8
	device uint8
	login  uint8 // when the visitor logs in
	in     bool  // logged in: the events carry the visitor's identity
	left   uint8 // page views to come
	looked bool  // the product on the page has been looked at
	source uint8
	here   spot
	before spot
}

// stage is what the visitor does next.
type stage uint8

const (
	away stage = iota
	browsing
	looking // at a product
	adding
	inCart
	removing
	atCheckout
	atShipping
	atPayment
	ordering
	thanked
	gone
)

// When a visitor logs in.
const (
	loginNever = iota
	loginSoon
	loginAtCheckout
)

// live lets household i do the next thing it does, which is one event.
func (s *Stream) live(i int32) Delivery {
	h := s.visitor
	s.now = h.visit.at
	d := s.step(h)
	d.Lane = h.key
	v := &h.visit
	switch v.next {
	case away:
		if h.visits == 0 && h.order.followUp == 0 {
			v.next = gone
			break
		}
		v.at += s.between(3*3600_000, 4*24*3600_000)
	case ordering, thanked:
		v.at += s.between(1_000, 4_000)
	default:
		if h.bot {
			v.at += s.between(150, 2_000)
		} else {
			v.at += 800 + int64(s.rng.ExpFloat64()*18_000)
		}
	}
	if v.next == gone {
		s.leave(i)
	} else {
		s.wheel.add(s.households, i, v.at)
	}
	return d
}

func (s *Stream) step(h *household) Delivery {
	v := &h.visit
	switch v.next {
	case away:
		if h.order.followUp != 0 {
			return s.followUp(h)
		}
		s.enter(h)
		return s.page(h, h.landing(s))
	case looking:
		v.goOn()
		if s.chance(s.cfg.Mix.Cart) && h.cart.n < maxLines {
			v.next = adding
		}
		return s.lookAt(h)
	case adding:
		v.goOn()
		if s.rng.IntN(5) < 3 {
			v.next = inCart
		}
		return s.add(h)
	case inCart:
		if v.here.place != cartPage {
			return s.page(h, spot{place: cartPage})
		}
		v.goOn()
		switch {
		case s.chance(s.cfg.Mix.Checkout):
			v.next = atCheckout
		case s.rng.IntN(4) == 0:
			v.next = removing
		}
		return s.viewCart(h)
	case removing:
		v.goOn()
		return s.remove(h)
	case atCheckout, atShipping, atPayment, ordering, thanked:
		return s.checkout(h)
	}
	return s.browse(h)
}

// goOn lets the visitor browse on, or leave where the visit is over.
func (v *visit) goOn() {
	if v.next = browsing; v.left == 0 {
		v.next = away
	}
}

// enter starts a visit: who comes, on which device, logged in or not.
func (s *Stream) enter(h *household) {
	v := &h.visit
	h.visits--
	v.person, v.device, v.login, v.in, v.late = 0, 0, loginNever, false, 0
	if h.two && s.rng.IntN(10) < 4 {
		v.person = 1 // who has no device of their own
	} else if h.owned > 1 {
		v.device = uint8(s.rng.IntN(int(h.owned)))
	}
	v.source, v.before = s.source(), spot{}
	if h.bot {
		v.left = uint8(s.between(1, 25))
		return
	}
	v.left = uint8(2 + min(s.rng.ExpFloat64()*4, 40))
	if s.chance(s.cfg.Mix.Late) {
		v.late = s.between(3600_000, 20*24*3600_000)
	}
	d, p := &h.devices[v.device], &h.people[v.person]
	if d.account == v.person+1 && s.rng.IntN(5) > 0 {
		v.in = true
		return
	}
	d.account = 0 // somebody else's account is closed first, one's own has timed out
	if p.customer && s.chance(s.cfg.Mix.Login) {
		v.login = loginSoon
		if s.rng.IntN(4) == 0 {
			v.login = loginAtCheckout
		}
	}
}

// landing is the page a visit begins with.
func (h *household) landing(s *Stream) spot {
	switch s.rng.IntN(10) {
	case 0, 1, 2, 3:
		return spot{place: homePage}
	case 4, 5, 6:
		return spot{categoryPage, s.pick()}
	case 7:
		return spot{storyPage, s.pick()}
	}
	return spot{productPage, s.pick()}
}

// browse is one step of a visitor without a plan.
func (s *Stream) browse(h *household) Delivery {
	v := &h.visit
	if v.login == loginSoon && (v.left <= 1 || s.rng.IntN(3) == 0) {
		return s.logIn(h)
	}
	p := &h.people[v.person]
	if p.newsletter && !p.known && s.rng.IntN(4) == 0 {
		v.goOn()
		return s.subscribe(h)
	}
	if v.in && s.chance(s.cfg.Mix.Update) {
		v.goOn()
		return s.update(h)
	}
	if !h.bot && s.chance(s.cfg.Mix.Product) {
		if v.here.place == productPage && !v.looked {
			v.next = looking
			return s.step(h)
		}
		d := s.page(h, spot{productPage, s.pick()})
		v.next = looking
		return d
	}
	if !h.bot && h.cart.n > 0 && s.rng.IntN(12) == 0 {
		v.next = inCart
		return s.page(h, spot{place: cartPage})
	}
	switch s.rng.IntN(10) {
	case 0:
		return s.page(h, spot{place: homePage})
	case 1, 2:
		return s.page(h, spot{searchPage, uint16(s.rng.IntN(len(searches)))})
	case 3:
		return s.page(h, spot{storyPage, s.pick()})
	case 4, 5:
		return s.page(h, spot{productPage, s.pick()})
	}
	return s.page(h, spot{categoryPage, s.pick()})
}

// page shows a page.
func (s *Stream) page(h *household, at spot) Delivery {
	v := &h.visit
	v.before, v.here, v.looked = v.here, at, false
	if v.next == away {
		v.before = spot{}
	}
	if v.left > 0 {
		v.left--
	}
	if v.next == away || v.next == browsing {
		v.goOn()
	}
	name := placeNames[at.place]
	s.open(Page, name, s.whom(h))
	switch at.place {
	case categoryPage:
		s.raw(`"category":"`, catalogue[at.what].category, `"`)
	case searchPage:
		s.raw(`"query":"`, searches[at.what].text, `"`)
	case thanksPage:
		s.raw(`"order_id":`)
		s.orderID(&h.order, false)
	}
	return s.close(h, Page)
}
