package shop

// checkout is one step from the cart to the confirmation page. Some leave on the way: the order
// stays incomplete.
func (s *Stream) checkout(h *household) Delivery {
	v := &h.visit
	switch v.next {
	case atCheckout:
		if v.login != loginNever {
			return s.logIn(h)
		}
		if v.here.place != checkoutPage {
			return s.page(h, spot{place: checkoutPage})
		}
		v.next = atShipping
		return s.startCheckout(h)
	case atShipping:
		v.next = atPayment
		if !s.chance(s.cfg.Mix.Complete) {
			v.goOn()
		}
		s.open(Track, "Checkout Step Completed", s.whom(h))
		s.raw(`"order_id":`)
		s.orderID(&h.order, false)
		s.raw(`,"step":1,"shipping_method":"DHL"`)
		return s.close(h, Track)
	case atPayment:
		v.next = ordering
		s.open(Track, "Payment Info Entered", s.whom(h))
		s.raw(`"order_id":`)
		s.orderID(&h.order, false)
		s.raw(`,"step":2,"payment_method":"`, payments[h.bits(21, uint64(len(payments)))], `"`)
		return s.close(h, Track)
	case ordering:
		v.next = thanked
		return s.complete(h)
	}
	d := s.page(h, spot{place: thanksPage})
	v.goOn()
	return d
}

var payments = [...]string{"card", "paypal", "invoice", "apple_pay"}

const coupon = "HERBST-10%"

func (s *Stream) startCheckout(h *household) Delivery {
	s.orders++
	o := &h.order
	*o = order{serial: s.orders, lines: h.cart.lines, n: h.cart.n, person: h.visit.person, device: h.visit.device}
	var subtotal int64
	for _, l := range o.lines[:o.n] {
		subtotal += catalogue[l.product].price * int64(l.quantity)
	}
	if s.rng.IntN(8) == 0 {
		o.discount = subtotal / 10
	}
	if subtotal < 50_00 {
		o.shipping = 4_95
	}
	o.total = subtotal - o.discount + o.shipping
	o.tax = (o.total*19 + 119/2) / 119
	s.move(o, orderIncomplete)

	s.open(Track, "Checkout Started", s.whom(h))
	s.raw(`"order_id":`)
	s.orderID(o, true)
	s.raw(`,`)
	s.cartID(h)
	s.raw(`,"value":`)
	s.money(h, o.total)
	s.raw(`,"currency":"`, countries[h.country].currency, `","products":`)
	s.lines(h, o.lines[:o.n])
	return s.close(h, Track)
}

func (s *Stream) complete(h *household) Delivery {
	o := &h.order
	s.move(o, orderCompleted)
	h.cart.n = 0
	switch r := s.rng.Float64(); {
	case r < s.cfg.Mix.Cancel:
		o.followUp = orderCancelled
	case r < s.cfg.Mix.Cancel+s.cfg.Mix.Refund:
		o.followUp = orderRefunded
	}
	if p := &h.people[o.person]; h.visit.in && p.tier < uint8(len(tiers)-1) {
		p.tier++
	}
	name := "Order Completed"
	if i := s.rng.IntN(100); i < len(spellings) {
		name = spellings[i]
	}
	s.open(Track, name, s.whom(h))
	s.raw(`"order_id":`)
	s.orderID(o, true)
	s.raw(`,"checkout_id":"`)
	s.event = appendHex(s.event, mix(o.serial))
	s.raw(`",`)
	s.sums(h, o)
	s.raw(`,"products":`)
	s.lines(h, o.lines[:o.n])
	return s.close(h, Track)
}

// spellings are other ways in which shops write Order Completed; they mean the same.
var spellings = [...]string{"order completed", "Order_Completed", " Order Completed ", "ORDER-COMPLETED"}

func (s *Stream) sums(h *household, o *order) {
	s.raw(`"total":`)
	s.money(h, o.total)
	s.raw(`,"revenue":`)
	s.money(h, o.total-o.shipping-o.tax)
	s.raw(`,"shipping":`)
	s.money(h, o.shipping)
	s.raw(`,"tax":`)
	s.money(h, o.tax)
	if o.discount > 0 {
		s.raw(`,"discount":`)
		s.money(h, o.discount)
		s.raw(`,"coupon":"`, coupon, `"`)
	}
	s.raw(`,"currency":"`, countries[h.country].currency, `"`)
}

// followUp is what becomes of an order later: the shop's own server says so where the customer has
// an account, the customer's device otherwise.
func (s *Stream) followUp(h *household) Delivery {
	o := &h.order
	s.move(o, o.followUp)
	name := "Order Cancelled"
	if o.followUp == orderRefunded {
		name = "Order Refunded"
	}
	o.followUp = 0
	h.visit.late, h.visit.in = 0, false
	h.visit.person, h.visit.device, h.visit.here = o.person, o.device, spot{}
	who := whom{person: int(o.person), device: int(o.device), identity: nameless}
	if h.people[o.person].joined && h.devices[o.device].account == o.person+1 {
		who.device, who.identity = noDevice, bothNames
	}
	s.open(Track, name, who)
	s.raw(`"order_id":`)
	s.orderID(o, false)
	s.raw(`,`)
	s.sums(h, o)
	s.raw(`,"products":`)
	s.lines(h, o.lines[:o.n])
	return s.close(h, Track)
}

// orderID writes an order's id. Some shops number their orders, and write the number now as a
// number, now as text.
func (s *Stream) orderID(o *order, number bool) {
	if o.serial%10 != 3 {
		s.raw(`"SO-`)
		s.event = appendDigits(s.event, s.tag, 3)
		s.raw(`-`)
		s.uint(o.serial)
		s.raw(`"`)
		return
	}
	if !number {
		s.raw(`"`)
	}
	s.uint((s.tag+1)*1e9 + o.serial)
	if !number {
		s.raw(`"`)
	}
}
