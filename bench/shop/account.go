package shop

// logIn opens the visitor's account on this device, creating it the first time. Either way the
// event states the customer number and the handle together, so that whichever of them another
// device names later is known to be the same person.
func (s *Stream) logIn(h *household) Delivery {
	v := &h.visit
	p := &h.people[v.person]
	v.in, v.login = true, loginNever
	h.devices[v.device].account = v.person + 1
	who := s.whom(h)
	if p.joined {
		who.identity = bothNames
		s.open(Identify, "", who)
		s.raw(`"last_login":"`)
		s.time(s.now)
		s.raw(`","tier":"`, tiers[p.tier], `"`)
		return s.close(h, Identify)
	}
	p.joined = true
	subscribed := p.known // the newsletter has the address already
	s.truth.CRMIDs++
	who.identity = customerNumber
	s.open(Identify, "", who)
	s.raw(`"first_name":"`, h.given(int(v.person)).text, `","last_name":"`, h.family().text, `",`)
	if h.phoneFirst(int(v.person)) {
		s.phone(h)
	} else {
		if !subscribed {
			s.truth.Emails++
		}
		s.raw(`"email":"`)
		s.event = s.appendEmail(s.event, int(v.person), true)
		s.raw(`"`)
		if h.bits(16+int(v.person), 10) < 3 {
			s.raw(`,`)
			s.phone(h)
		}
	}
	s.raw(`,"city":"`, countries[h.country].cities[p.city], `","country":"`, countries[h.country].code,
		`","created_at":"`)
	s.time(s.now)
	s.raw(`","tier":"`, tiers[p.tier], `","marketing":{"email":true,"sms":false},"interests":`)
	s.interests(p.interests)
	return s.close(h, Identify)
}

func (s *Stream) phone(h *household) {
	p := &h.people[h.visit.person]
	if !p.phoned {
		p.phoned = true
		s.truth.Phones++
	}
	s.raw(`"phone":"`)
	s.event = s.appendPhone(s.event, int(h.visit.person))
	s.raw(`"`)
}

// subscribe gives the newsletter an email address: the first name a visitor has, and no account.
func (s *Stream) subscribe(h *household) Delivery {
	s.truth.Emails++
	who := s.whom(h)
	who.identity = nameless
	inContext := h.bits(22, 3) == 0 // as some SDKs have it
	if inContext {
		who.traits = addressTraits
	}
	who.names = true
	s.open(Identify, "", who)
	if !inContext {
		s.raw(`"email":"`)
		s.event = s.appendEmail(s.event, int(h.visit.person), true)
		s.raw(`","newsletter":true`)
	}
	return s.close(h, Identify)
}

// update is an identify of somebody logged in: usually what is known already, or one trait changes.
func (s *Stream) update(h *household) Delivery {
	v := &h.visit
	p := &h.people[v.person]
	who := s.whom(h)
	kind := s.rng.IntN(10)
	if kind == 0 && !p.remailed && h.remails(int(v.person)) && !h.phoneFirst(int(v.person)) {
		s.truth.Emails++
		p.remailed = true
		s.open(Identify, "", who)
		s.raw(`"email":"`)
		s.event = s.appendEmail(s.event, int(v.person), false)
		s.raw(`"`)
		return s.close(h, Identify)
	}
	s.open(Identify, "", who)
	switch kind {
	case 1, 2: // moves house
		cities := countries[h.country].cities
		p.city = (p.city + 1 + uint8(s.rng.IntN(len(cities)-1))) % uint8(len(cities))
		s.raw(`"city":"`, cities[p.city], `"`)
	case 3:
		p.interests ^= 1 << s.rng.IntN(len(interests))
		s.raw(`"interests":`)
		s.interests(p.interests)
	case 4:
		s.raw(`"marketing":{"sms":true}`)
	case 5:
		s.raw(`"nickname":null`)
	case 6:
		s.raw(`"$unset":["nickname","marketing.sms"],"last_page":"`, placeNames[v.here.place], `"`)
	default:
		s.raw(`"city":"`, countries[h.country].cities[p.city], `","tier":"`, tiers[p.tier], `"`)
	}
	return s.close(h, Identify)
}

func (s *Stream) interests(set uint8) {
	s.raw(`[`)
	comma := false
	for i, name := range interests {
		if set&(1<<i) == 0 {
			continue
		}
		if comma {
			s.raw(`,`)
		}
		s.raw(`"`, name, `"`)
		comma = true
	}
	s.raw(`]`)
}
