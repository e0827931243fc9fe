package shop

import "strconv"

// whom says how an event names its sender.
type whom struct {
	person   int
	device   int // noDevice: it comes from the shop's server
	identity int
	traits   int
	names    bool // names the person although identity does not
}

const noDevice = -1

// What "identity" holds.
const (
	nameless       = iota
	inStyle        // what the person's events always have: see household.style
	bothNames      // {"crm_id":…,"email":…} or {"crm_id":…,"phone":…}
	customerNumber // the payload has the handle
)

// What "context.traits" holds.
const (
	noTraits      = iota
	addressTraits // the email address
	appTraits     // the app's version, as mobile SDKs say with every event
)

// whom is how the present visitor's ordinary events name them.
func (s *Stream) whom(h *household) whom {
	v := &h.visit
	w := whom{person: int(v.person), device: int(v.device)}
	if v.in {
		w.identity = inStyle
		if userAgents[h.agent(w.device)].epochTime {
			w.traits = appTraits
		}
	}
	return w
}

// open writes an event up to the inside of its payload, and books who it names.
func (s *Stream) open(t Type, name string, who whom) {
	h := s.visitor
	s.sender = who
	s.messages++
	s.truth.Messages++
	s.raw(`{"message_id":"`)
	s.event = appendUUID(s.event, mix(s.salt^s.messages), mix(s.salt+s.messages<<20))
	s.raw(`"`)
	named := who.identity != nameless || who.names
	if who.device != noDevice {
		s.raw(`,"anonymous_id":"`)
		device := h.key + uint64(who.device)*0x632be59bd9b4e019
		s.event = appendUUID(s.event, mix(device), mix(^device))
		s.raw(`"`)
		d := &h.devices[who.device]
		s.seen(d, named)
		if named {
			s.names(who.person, d)
		}
	}
	s.identity(h, who)
	s.raw(`,"event_type":"`, typeNames[t], `"`)
	if name != "" {
		s.raw(`,"event_name":"`, name, `"`)
	}
	s.timestamp(h, who)
	s.raw(`,"payload":{`)
}

func (s *Stream) identity(h *household, who whom) {
	p := who.person
	switch who.identity {
	case inStyle:
		switch h.style(p) {
		case styleCRM:
			s.raw(`,"identity":"`)
			s.event = s.appendCRM(s.event, p)
			s.raw(`"`)
		case styleNumber:
			s.raw(`,"identity":`)
			s.event = s.appendCRM(s.event, p)
		case styleHandle:
			s.raw(`,"identity":"`)
			s.event = s.appendHandle(s.event, p)
			s.raw(`"`)
		}
	case customerNumber:
		s.raw(`,"identity":"`)
		s.event = s.appendCRM(s.event, p)
		s.raw(`"`)
	case bothNames:
		s.raw(`,"identity":{"crm_id":"`)
		s.event = s.appendCRM(s.event, p)
		if h.phoneFirst(p) {
			s.raw(`","phone":"`)
		} else {
			s.raw(`","email":"`)
		}
		s.event = s.appendHandle(s.event, p)
		s.raw(`"}`)
	case nameless:
		// Libraries that know no identity leave it out, or say null; a few say it in a string.
		switch n := h.bits(23, 100); {
		case n < 30:
			s.raw(`,"identity":null`)
		case n < 31:
			s.raw(`,"identity":"undefined"`)
		}
	}
}

func (s *Stream) timestamp(h *household, who whom) {
	if s.cfg.Undated {
		return
	}
	at := s.now - h.visit.late
	if who.device != noDevice && userAgents[h.agent(who.device)].epochTime {
		s.raw(`,"timestamp":`)
		s.uint(uint64(max(at, 0)))
		return
	}
	s.raw(`,"timestamp":"`)
	s.time(at)
	s.raw(`"`)
}

// close ends the payload and writes the context.
func (s *Stream) close(h *household, t Type) Delivery {
	who := s.sender
	switch t {
	case Identify:
		s.truth.Identifies++
	case Track:
		s.truth.Tracks++
	case Page:
		s.truth.Pages++
	}
	if who.device == noDevice {
		s.raw(`},"context":{"library":{"name":"shop-backend","version":"8.1.0"}}}`)
		return Delivery{Type: t}
	}
	v := &h.visit
	s.raw(`},"context":{`)
	if v.here.place != nowhere {
		s.webPage(h, countries[h.country].language)
	}
	agent := h.agent(who.device)
	if h.bot {
		agent = len(userAgents) + int(h.bits(24, uint64(len(botAgents))))
	}
	s.raw(settings[agent][h.country])
	switch who.traits {
	case addressTraits:
		s.raw(`,"traits":{"email":"`)
		s.event = s.appendEmail(s.event, who.person, true)
		s.raw(`","newsletter":true}`)
	case appTraits:
		s.raw(`,"traits":{"app_version":"4.2.1"}`)
	}
	s.raw(`,"library":{"name":"keystone.js","version":"1.0.0"}}}`)
	return Delivery{Type: t}
}

func (s *Stream) webPage(h *household, language string) {
	v := &h.visit
	s.raw(`"page":{"url":"`, host)
	from := len(s.event)
	s.event = appendPath(s.event, v.here, language)
	to := len(s.event)
	source := &sources[v.source]
	first := v.before.place == nowhere
	switch {
	case v.here.place == searchPage:
		s.raw(`?q=`, searches[v.here.what].escaped)
	case first && source.query != "":
		s.raw(`?`, source.query)
		if source.click != "" {
			s.raw(`&`, source.click, `=`)
			s.event = appendHex(s.event, mix(h.key+uint64(h.visits)))
		}
	case first && source.click != "":
		s.raw(`?`, source.click, `=`)
		s.event = appendHex(s.event, mix(h.key+uint64(h.visits)))
	}
	s.raw(`","path":"`)
	s.event = append(s.event, s.event[from:to]...)
	s.raw(`","referrer":"`)
	if first {
		s.raw(source.referrer)
	} else {
		s.raw(host)
		s.event = appendPath(s.event, v.before, language)
	}
	s.raw(`","title":"`)
	s.event = appendTitle(s.event, v.here)
	s.raw(`"},`)
}

// agent is the user agent of a household's device.
func (h *household) agent(device int) int {
	return int(h.bits(25+device, uint64(len(userAgents))))
}

func (s *Stream) raw(parts ...string) {
	dst := s.event
	for _, p := range parts {
		dst = append(dst, p...)
	}
	s.event = dst
}

func (s *Stream) uint(n uint64) { s.event = strconv.AppendUint(s.event, n, 10) }
