package segment

import (
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Around is what a message's surroundings say: its path, and the batch it came in.
type Around struct {
	Type    Type   // from the path; Unknown: the message's own
	SentAt  []byte // raw, of the batch
	Context []byte // raw, of the batch: what the message's own context lacks
	// Secret: the key is an integration key, so a writeKey in the message is not for the store.
	Secret bool
}

// Native appends the message in the native form to dst. The message itself is kept, byte for byte,
// as the member "original"; where that would exceed the limit, or hold a secret, only its members
// that the native form does not carry already. The error is an *event.Error.
func (m *Message) Native(dst []byte, a Around, lim event.Limits) ([]byte, error) {
	typ := a.Type
	if typ == Unknown {
		if typ = TypeOf(Text(m.typ)); typ == Unknown {
			return dst, &event.Error{Code: event.CodeInvalidEvent, Field: "type",
				Message: "type must be identify, track, page, screen, group or alias"}
		}
	}
	start := len(dst)
	w := writer{dst: append(dst, '{')}
	w.member("message_id", w.use(id(m.messageID)))
	w.member("anonymous_id", w.use(id(m.anonymousID)))
	w.member("identity", w.use(id(m.userID)))
	w.quoted("event_type", native[typ])
	m.body(&w, typ)
	if at := m.timestamp; at != nil {
		w.member("timestamp", w.use(at))
	} else {
		w.member("timestamp", w.use(m.originalTimestamp))
	}
	if at := m.sentAt; at != nil {
		w.member("sent_at", w.use(at))
	} else {
		w.member("sent_at", notNull(a.SentAt))
	}
	m.contexts(&w, a.Context)

	keepAll := !(a.Secret && m.writeKey != nil) && len(w.dst)-start+len(`,"original":}`)+len(m.text) <= lim.EventBytes
	if keepAll {
		w.member("original", m.text)
	} else {
		m.leftover(&w)
	}
	w.dst = append(w.dst, '}')
	if n := len(w.dst) - start; n > lim.EventBytes {
		return w.dst[:start], tooLarge(n, lim)
	}
	return w.dst, nil
}

// body writes what depends on the type.
func (m *Message) body(w *writer, typ Type) {
	switch typ {
	case Track:
		w.member("event_name", w.use(id(first(m.event, m.name))))
		w.member("payload", w.use(object(m.properties)))
	case Page:
		w.member("event_name", w.use(id(first(m.name, m.event))))
		w.member("payload", w.use(object(m.properties)))
	case Screen:
		w.member("event_name", w.use(id(first(m.name, m.event))))
		w.screen(w.use(object(m.properties)))
	case Identify:
		w.member("payload", m.identifyTraits(w))
	case Group:
		w.member("payload", w.use(object(m.traits)))
		w.member("group_id", w.use(id(m.groupID)))
	case Alias:
		w.member("previous_id", w.use(id(m.previousID)))
	}
}

// identifyTraits are what an identify says of its user. RudderStack's browser SDK has them in the
// context only, where an email beside a userId would be an attribute and no identifier.
func (m *Message) identifyTraits(w *writer) []byte {
	own := w.use(object(m.traits))
	if own != nil && !isEmpty(own) {
		return own
	}
	if context := object(m.context); context != nil {
		return first(object(event.Member(context, "traits")), own)
	}
	return own
}

// contexts writes the message's context and, of the batch's, what it lacks.
func (m *Message) contexts(w *writer, batch []byte) {
	own, batch := w.use(object(m.context)), object(notNull(batch))
	if own == nil || batch == nil {
		w.member("context", first(own, batch))
		return
	}
	w.key("context")
	w.dst = append(w.dst, own[:len(own)-1]...)
	empty := isEmpty(own)
	var b jsonscan.Members
	for b.Reset(batch, len(batch)); b.Next(); {
		if event.Member(own, string(b.Key())) != nil {
			continue
		}
		if !empty {
			w.dst = append(w.dst, ',')
		}
		empty = false
		w.dst = append(payload.AppendQuoted(w.dst, b.Key()), ':')
		w.dst = append(w.dst, b.Value()...)
	}
	w.dst = append(w.dst, '}')
}

// leftover writes the members that nothing was made of, but for a secret key.
func (m *Message) leftover(w *writer) {
	w.key("original")
	w.dst = append(w.dst, '{')
	sep := false
	for m.members.Reset(m.text, len(m.text)); m.members.Next(); {
		value := m.members.Value()
		if string(m.members.Key()) == "writeKey" || w.used(value) {
			continue
		}
		if sep {
			w.dst = append(w.dst, ',')
		}
		sep = true
		w.dst = append(payload.AppendQuoted(w.dst, m.members.Key()), ':')
		w.dst = append(w.dst, value...)
	}
	w.dst = append(w.dst, '}')
}

// writer builds one object and remembers which values of the message it took.
type writer struct {
	dst    []byte
	taken  [12][]byte
	takenN int
	any    bool
}

func (w *writer) use(raw []byte) []byte {
	if raw != nil {
		w.taken[w.takenN] = raw
		w.takenN++
	}
	return raw
}

// used tells whether this very value, at this place of the text, was taken.
func (w *writer) used(value []byte) bool {
	for _, t := range w.taken[:w.takenN] {
		if &t[0] == &value[0] {
			return true
		}
	}
	return false
}

func (w *writer) key(key string) {
	if w.any {
		w.dst = append(w.dst, ',')
	}
	w.any = true
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, key...)
	w.dst = append(w.dst, '"', ':')
}

// member writes a raw value; nil is left out. A number where text is due becomes its text.
func (w *writer) member(key string, raw []byte) {
	if raw == nil {
		return
	}
	w.key(key)
	number := jsonscan.KindOf(raw) == jsonscan.Number && (key == "message_id" || key == "event_name")
	if number {
		w.dst = append(w.dst, '"')
	}
	w.dst = append(w.dst, raw...)
	if number {
		w.dst = append(w.dst, '"')
	}
}

func (w *writer) quoted(key, text string) {
	w.key(key)
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, text...)
	w.dst = append(w.dst, '"')
}

// screen writes properties as the payload of a page, with its kind in the last place, where it
// counts.
func (w *writer) screen(properties []byte) {
	w.key("payload")
	if properties == nil {
		properties = []byte("{}")
	}
	w.dst = append(w.dst, properties[:len(properties)-1]...)
	if !isEmpty(properties) {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(w.dst, `"kind":"screen"}`...)
}

// isEmpty tells a valid raw object without members.
func isEmpty(object []byte) bool {
	for _, c := range object[1 : len(object)-1] {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// id is a raw id: a string or a number. Anything else (false, [], {}) stands for nobody and stays in
// the original.
func id(raw []byte) []byte {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String, jsonscan.Number:
		return raw
	}
	return nil
}

func object(raw []byte) []byte {
	if jsonscan.KindOf(raw) == jsonscan.Object {
		return raw
	}
	return nil
}

func notNull(raw []byte) []byte {
	if jsonscan.KindOf(raw) == jsonscan.Null {
		return nil
	}
	return raw
}

func first(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}
