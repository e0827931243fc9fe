package event

import (
	"bytes"
	"crypto/sha1" // RFC 9562 version 5 is SHA-1
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/unicode/norm"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Identifier is one name of a person or a device, in normal form.
type Identifier struct {
	Kind  string
	Value string
	Node  uuid.UUID
}

// NodeID is an identifier's node id: the name-based UUID (RFC 9562, version 5) of
// kind + 0x1F + value in the tenant's UUID as the name space (spec 2.1).
func NodeID(tenant uuid.UUID, kind, value string) uuid.UUID {
	buf := make([]byte, 0, 128)
	buf = append(buf, tenant[:]...)
	buf = append(buf, kind...)
	buf = append(buf, 0x1f)
	buf = append(buf, value...)
	sum := sha1.Sum(buf)
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Identifiers is whom an event names.
type Identifiers struct {
	// Anonymous holds the device's identifier, and an alias's previous one before it.
	Anonymous []Identifier
	// Verified is in priority order: crm_id, email, phone, the tenant's own kinds (spec 2.3).
	Verified []Identifier
	// Dropped counts what was given and stands for nobody, cannot be read as its kind, or is of a
	// kind the tenant does not have.
	Dropped int
}

// Empty tells that an event names nobody.
func (ids *Identifiers) Empty() bool { return len(ids.Anonymous)+len(ids.Verified) == 0 }

// Routing is the identifier that keeps one device's events in order: the anonymous one, else the
// first verified one (spec 3.1). Call it only on what is not Empty.
func (ids *Identifiers) Routing() Identifier {
	if n := len(ids.Anonymous); n > 0 {
		return ids.Anonymous[n-1] // the device's own, also on an alias
	}
	return ids.Verified[0]
}

// Identifiers puts into ids, in place of what was there, whom the event names under a tenant's
// settings.
func (e *Event) Identifiers(tenant uuid.UUID, s *Settings, ids *Identifiers) {
	e.Names(s, ids)
	for _, list := range [...][]Identifier{ids.Anonymous, ids.Verified} {
		for i := range list {
			list[i].Node = NodeID(tenant, list[i].Kind, list[i].Value)
		}
	}
}

// Names is Identifiers without their node ids, which cost the most.
func (e *Event) Names(s *Settings, ids *Identifiers) {
	*ids = Identifiers{Anonymous: ids.Anonymous[:0], Verified: ids.Verified[:0]}
	c := collector{settings: s, ids: ids}
	if e.Type == Alias {
		c.previous(e.PreviousID)
	}
	c.anonymous(e.AnonymousID)
	c.identity(e.Identity)
	if e.Type == Identify {
		if s.PromoteTraits {
			c.traits(e.Payload, KindCRM, KindEmail, KindPhone)
		}
		if e.Identity == nil {
			if traits := Member(e.Context, "traits"); jsonscan.KindOf(traits) == jsonscan.Object {
				c.traits(traits, KindEmail, KindPhone)
			}
		}
	}
	if len(ids.Verified) > 1 {
		slices.SortStableFunc(ids.Verified, func(a, b Identifier) int {
			return s.priority(a.Kind) - s.priority(b.Kind)
		})
	}
}

// ParseIdentifier reads an identifier as people write it, "email:ann@example.com", under a tenant's
// settings. The error says what is wrong with it.
func ParseIdentifier(text string, tenant uuid.UUID, s *Settings) (Identifier, error) {
	kind, value, ok := strings.Cut(text, ":")
	if !ok {
		return Identifier{}, errors.New("an identifier is written as kind:value, like email:ann@example.com or anonymous:device-1")
	}
	var ids Identifiers
	c := collector{settings: s, ids: &ids}
	if kind == KindAnonymous {
		c.anonymous([]byte(value))
	} else {
		if s.priority(kind) < 0 {
			return Identifier{}, fmt.Errorf("there is no kind of identifiers called %q", kind)
		}
		c.verified(kind, []byte(value))
	}
	if ids.Empty() {
		return Identifier{}, fmt.Errorf("that is no %s, or one that stands for nobody", kind)
	}
	id := ids.Routing()
	id.Node = NodeID(tenant, id.Kind, id.Value)
	return id, nil
}

// Member is the raw value of an object's member, the last one of that name, or nil. The object
// must be valid (one that Decode has seen).
func Member(object []byte, name string) (value []byte) {
	if !mayHold(object, name) {
		return nil
	}
	var m jsonscan.Members
	m.Reset(object, len(object))
	for m.Next() {
		if string(m.Key()) == name {
			value = m.Value()
		}
	}
	return value
}

// mayHold is false where the name stands nowhere in the object. A name can also be written with
// escapes, so that a backslash leaves it open.
func mayHold(object []byte, name string) bool {
	return bytes.Contains(object, []byte(name)) || bytes.IndexByte(object, '\\') >= 0
}

type collector struct {
	settings *Settings
	ids      *Identifiers
}

func (c *collector) anonymous(text []byte) {
	if text == nil {
		return
	}
	value, ok := clean(text)
	if !ok {
		c.ids.Dropped++
		return
	}
	c.add(&c.ids.Anonymous, KindAnonymous, value)
}

func (c *collector) previous(text []byte) {
	if text == nil {
		return
	}
	value, ok := clean(text)
	if !ok {
		c.ids.Dropped++
		return
	}
	switch kind, normal := inferKind(value); kind {
	case KindEmail, KindPhone:
		c.add(&c.ids.Verified, kind, normal)
	default:
		c.add(&c.ids.Anonymous, KindAnonymous, value)
	}
}

func (c *collector) identity(raw []byte) {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String, jsonscan.Number:
		value, ok := clean(scalar(raw))
		if !ok {
			c.ids.Dropped++
			return
		}
		kind, normal := inferKind(value)
		c.add(&c.ids.Verified, kind, normal)
	case jsonscan.Object:
		c.kinds(raw)
	}
}

// kinds reads the object form. Only the last of a duplicated member counts.
func (c *collector) kinds(object []byte) {
	type member struct {
		kind string
		raw  []byte
	}
	var all []member
	var m jsonscan.Members
	m.Reset(object, len(object))
	for m.Next() {
		kind := string(m.Key())
		all = slices.DeleteFunc(all, func(x member) bool { return x.kind == kind })
		all = append(all, member{kind, m.Value()})
	}
	for _, x := range all {
		c.stated(x.kind, x.raw)
	}
}

func (c *collector) traits(object []byte, kinds ...string) {
	for _, kind := range kinds {
		raw := Member(object, kind)
		switch jsonscan.KindOf(raw) {
		case jsonscan.String, jsonscan.Number:
			c.stated(kind, raw)
		}
	}
}

// stated takes a value whose kind the event names.
func (c *collector) stated(kind string, raw []byte) {
	if jsonscan.KindOf(raw) == jsonscan.Null {
		return
	}
	text := scalar(raw)
	if text == nil || c.settings.priority(kind) < 0 {
		c.ids.Dropped++
		return
	}
	c.verified(kind, text)
}

// verified takes a value of a kind that the tenant has.
func (c *collector) verified(kind string, text []byte) {
	value, ok := clean(text)
	if ok {
		switch kind {
		case KindEmail:
			value = normalEmail(value)
		case KindPhone:
			value, ok = normalPhone(value, c.settings.DefaultRegion)
		}
	}
	if !ok {
		c.ids.Dropped++
		return
	}
	c.add(&c.ids.Verified, kind, value)
}

func (c *collector) add(to *[]Identifier, kind, value string) {
	for _, have := range *to {
		if have.Kind == kind && have.Value == value {
			return
		}
	}
	*to = append(*to, Identifier{Kind: kind, Value: value})
}

// scalar is the text of a raw string or number, else nil.
func scalar(raw []byte) []byte {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String:
		return jsonscan.Unquote(nil, raw)
	case jsonscan.Number:
		return raw
	}
	return nil
}

// AnonymousID is the normal form of an anonymous id's text, for who needs no more of an event than its
// device: a slice of the text where that is possible. It answers false for one that stands for nobody.
func AnonymousID(text []byte) ([]byte, bool) {
	text = bytes.TrimSpace(text)
	if nobody(text) {
		return nil, false
	}
	if bytes.IndexByte(text, 0) >= 0 {
		text = bytes.ReplaceAll(text, []byte{0}, []byte(string(utf8.RuneError)))
	}
	return text, true
}

// clean trims a value, replaces NUL (which the state store cannot hold) by U+FFFD, and answers
// false for values that stand for nobody.
func clean(text []byte) (string, bool) {
	text, ok := AnonymousID(text)
	return string(text), ok
}

var nobodies = map[string]bool{
	"": true, "null": true, "undefined": true, "none": true, "nil": true, "nan": true,
	"anonymous": true, "guest": true, "unknown": true, "true": true, "false": true, "0": true,
	"-1": true, "[object object]": true, "00000000-0000-0000-0000-000000000000": true,
	"00000000000000000000000000000000": true,
}

const longestNobody = len("00000000-0000-0000-0000-000000000000") + len(`""`)

// nobody tells values that many people share because a program put them where an id was missing.
func nobody(text []byte) bool {
	if len(text) > longestNobody+8 {
		return false
	}
	for n := len(text); n >= 2; n = len(text) {
		if q := text[0]; (q != '"' && q != '\'' && q != '`') || text[n-1] != q {
			break
		}
		text = bytes.TrimSpace(text[1 : n-1])
	}
	var lower [longestNobody]byte
	if len(text) > len(lower) {
		return false
	}
	for i, b := range text {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[i] = b
	}
	return nobodies[string(lower[:len(text)])]
}

// inferKind tells the kind of a string identity, and its normal form (spec 2.1). What starts with
// "+" and is no phone number is taken as a crm_id: nothing is lost.
func inferKind(value string) (kind, normal string) {
	if value[0] == '+' {
		if phone, ok := normalPhone(value, ""); ok {
			return KindPhone, phone
		}
		return KindCRM, value
	}
	if looksLikeEmail(value) {
		return KindEmail, normalEmail(value)
	}
	return KindCRM, value
}

// looksLikeEmail: one @ with a dotted domain, and no white space.
func looksLikeEmail(s string) bool {
	at := strings.IndexByte(s, '@')
	if at < 1 || strings.IndexByte(s[at+1:], '@') >= 0 || strings.ContainsAny(s, " \t\r\n") {
		return false
	}
	domain := s[at+1:]
	dot := strings.IndexByte(domain, '.')
	return dot > 0 && domain[len(domain)-1] != '.' && !strings.Contains(domain, "..")
}

func normalEmail(s string) string { return strings.ToLower(norm.NFC.String(s)) }

// maxPhoneBytes bounds what is handed to the phone number parser.
const maxPhoneBytes = 64

func normalPhone(s, region string) (string, bool) {
	if len(s) > maxPhoneBytes {
		return "", false
	}
	number, err := phonenumbers.Parse(s, region)
	if err != nil || !phonenumbers.IsPossibleNumber(number) {
		return "", false
	}
	return phonenumbers.Format(number, phonenumbers.E164), true
}
