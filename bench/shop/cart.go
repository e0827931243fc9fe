package shop

import "slices"

func (s *Stream) lookAt(h *household) Delivery {
	h.visit.looked = true
	s.open(Track, "Product Viewed", s.whom(h))
	s.topArticle(h, h.visit.here.what)
	s.raw(`,"currency":"`, countries[h.country].currency, `"`)
	return s.close(h, Track)
}

func (s *Stream) add(h *household) Delivery {
	c := &h.cart
	if c.n == 0 {
		c.serial++
	}
	item := line{h.visit.here.what, uint8(1 + s.rng.IntN(10)/7)}
	if i := slices.IndexFunc(c.lines[:c.n], func(l line) bool { return l.product == item.product }); i >= 0 {
		c.lines[i].quantity += item.quantity
	} else {
		c.lines[c.n] = item
		c.n++
	}
	s.open(Track, "Product Added", s.whom(h))
	s.cartID(h)
	s.raw(`,`)
	s.topArticle(h, item.product)
	s.raw(`,"quantity":`)
	s.uint(uint64(item.quantity))
	s.raw(`,"currency":"`, countries[h.country].currency, `"`)
	return s.close(h, Track)
}

func (s *Stream) remove(h *household) Delivery {
	c := &h.cart
	i := s.rng.IntN(int(c.n))
	gone := c.lines[i]
	c.n = uint8(len(slices.Delete(c.lines[:c.n], i, i+1)))
	s.open(Track, "Product Removed", s.whom(h))
	s.cartID(h)
	s.raw(`,`)
	s.topArticle(h, gone.product)
	if s.rng.IntN(2) == 0 { // else the whole line goes
		s.raw(`,"quantity":`)
		s.uint(uint64(gone.quantity))
	}
	return s.close(h, Track)
}

func (s *Stream) viewCart(h *household) Delivery {
	s.open(Track, "Cart Viewed", s.whom(h))
	s.cartID(h)
	s.raw(`,"products":`)
	s.lines(h, h.cart.lines[:h.cart.n])
	return s.close(h, Track)
}

func (s *Stream) cartID(h *household) {
	s.raw(`"cart_id":"CT-`)
	s.event = appendHex(s.event, mix(h.key+uint64(h.cart.serial)<<32))
	s.raw(`"`)
}

// topArticle is article where the product stands alone in the payload: there only a product_id
// names it (spec 2.7), in a list a sku does, too.
func (s *Stream) topArticle(h *household, i uint16) {
	s.article(h, i)
	if catalogue[i].numbered {
		s.product(i)
	}
}

// article writes the members that say which product it is.
func (s *Stream) article(h *household, i uint16) {
	p := &catalogue[i]
	s.raw(p.idJSON, `,"name":"`, p.name, `","category":"`, p.category, `","brand":"`, p.brand, `","price":`)
	s.money(h, p.price)
}

// lines writes a list of products.
func (s *Stream) lines(h *household, lines []line) {
	s.raw(`[`)
	for i, l := range lines {
		if i > 0 {
			s.raw(`,`)
		}
		s.raw(`{`)
		s.product(l.product)
		s.article(h, l.product)
		s.raw(`,"quantity":`)
		s.uint(uint64(l.quantity))
		s.raw(`}`)
	}
	s.raw(`]`)
}

// money writes hundredths as an exact decimal: a number, in some shops a string.
func (s *Stream) money(h *household, hundredths int64) {
	text := h.bits(20, 10) == 0
	if text {
		s.raw(`"`)
	}
	s.uint(uint64(hundredths / 100))
	s.raw(`.`)
	s.event = appendDigits(s.event, uint64(hundredths%100), 2)
	if text {
		s.raw(`"`)
	}
}
