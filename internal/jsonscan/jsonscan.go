// Package jsonscan validates JSON in one pass and walks the members of an object without
// allocating. It is the decoder of the hot path: the edge, the processor and the sink look at a
// handful of top-level members and keep the rest as raw text, so a general decoder would do work
// that is thrown away.
//
// It is stricter than most decoders and says so: RFC 8259, UTF-8 only, nesting bounded. Lone
// surrogate escapes are accepted, because browsers really send them; Unquote replaces them.
package jsonscan

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrTooDeep is wrapped by the error of a document that nests deeper than allowed.
var ErrTooDeep = errors.New("nested too deep")

// SyntaxError says what is wrong with a document and at which byte. It never quotes the document:
// payloads stay out of errors and logs.
type SyntaxError struct {
	Offset int
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset)
}

// Kind is the type of a JSON value, told by its first byte.
type Kind byte

// The kinds of JSON values. Invalid is the kind of an empty value.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// KindOf tells the kind of a valid raw value without leading white space. A nil value is Invalid.
func KindOf(raw []byte) Kind {
	if len(raw) == 0 {
		return Invalid
	}
	switch raw[0] {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	}
	return Number
}

// Valid checks that data is exactly one JSON value, nested at most maxDepth levels.
func Valid(data []byte, maxDepth int) error {
	s := scanner{data: data, maxDepth: maxDepth}
	pos, err := s.value(space(data, 0), 0)
	if err != nil {
		return err
	}
	return s.end(pos)
}

// Members iterates over the members of one JSON object, validating all of it on the way. Zero
// value is not usable: call Reset. Raw keys and values are slices of the document.
//
//	var m jsonscan.Members
//	m.Reset(data, 64)
//	for m.Next() { use(m.Key(), m.Value()) }
//	err := m.Err()
type Members struct {
	s      scanner
	pos    int
	err    error
	key    []byte
	value  []byte
	keyBuf [64]byte
	state  memberState
	plain  bool // the key has no escapes
}

type memberState byte

const (
	beforeObject memberState = iota
	afterMember
	finished
)

// Reset starts over on data: exactly one object, nested at most maxDepth levels (the object itself
// is level 1).
func (m *Members) Reset(data []byte, maxDepth int) {
	m.s = scanner{data: data, maxDepth: maxDepth}
	m.pos, m.err, m.key, m.value, m.state = 0, nil, nil, nil, beforeObject
}

// Key is the current member's name, unescaped. It is valid until the next call of Next. (It is
// unescaped here and not in Next, because Members would point into itself and always be on the heap.)
func (m *Members) Key() []byte {
	if m.plain {
		return m.key[1 : len(m.key)-1]
	}
	return Unquote(m.keyBuf[:0], m.key)
}

// Value is the current member's raw, validated value, a slice of the document.
func (m *Members) Value() []byte { return m.value }

// Err is the first syntax error met, or nil.
func (m *Members) Err() error { return m.err }

// Next moves to the next member. It answers false at the end of the object and on an error.
func (m *Members) Next() bool {
	if m.err != nil || m.state == finished {
		return false
	}
	more, err := m.advance()
	m.err = err
	return more && err == nil
}

func (m *Members) advance() (more bool, err error) {
	s := &m.s
	pos := space(s.data, m.pos)
	c := at(s.data, pos)
	if m.state == beforeObject {
		if c != '{' {
			_, err = s.fail(pos, "expected an object")
			return false, err
		}
		if s.maxDepth < 1 {
			_, err = s.tooDeep(pos)
			return false, err
		}
		if pos = space(s.data, pos+1); at(s.data, pos) == '}' {
			return false, m.finish(pos + 1)
		}
		m.state = afterMember
		return true, m.member(pos)
	}
	switch c {
	case ',':
		return true, m.member(space(s.data, pos+1))
	case '}':
		return false, m.finish(pos + 1)
	}
	_, err = s.fail(pos, "expected a comma or the end of the object")
	return false, err
}

func (m *Members) finish(pos int) error {
	m.state = finished
	return m.s.end(pos)
}

func (m *Members) member(pos int) error {
	s := &m.s
	start := pos
	s.escaped = false
	pos, err := s.str(pos)
	if err != nil {
		return err
	}
	m.key, m.plain = s.data[start:pos], !s.escaped
	if pos = space(s.data, pos); at(s.data, pos) != ':' {
		_, err = s.fail(pos, "expected a colon")
		return err
	}
	start = space(s.data, pos+1)
	if pos, err = s.value(start, 1); err != nil {
		return err
	}
	m.value, m.pos = s.data[start:pos], pos
	return nil
}

// Elements iterates over the elements of one JSON array that is already known to be valid
// (a raw value that Members handed out); on other input it stops early.
type Elements struct {
	s       scanner
	pos     int
	started bool
	value   []byte
}

// Reset starts over on a valid raw array.
func (e *Elements) Reset(raw []byte) {
	*e = Elements{s: scanner{data: raw, maxDepth: len(raw)}}
}

// Value is the current element's raw value.
func (e *Elements) Value() []byte { return e.value }

// Next moves to the next element.
func (e *Elements) Next() bool {
	data := e.s.data
	want := byte(',')
	if !e.started {
		want, e.started = '[', true
	}
	pos := space(data, e.pos)
	if at(data, pos) != want {
		return false
	}
	start := space(data, pos+1)
	if at(data, start) == ']' {
		return false
	}
	pos, err := e.s.value(start, 1)
	if err != nil {
		return false
	}
	e.value, e.pos = data[start:pos], pos
	return true
}

// Unquote appends the text of a valid raw string, quotes included in raw, to dst. Escapes are
// resolved; a lone surrogate becomes U+FFFD. Without escapes and with an empty dst it returns a
// slice of raw and copies nothing.
func Unquote(dst, raw []byte) []byte {
	body := raw[1 : len(raw)-1]
	i := indexBackslash(body)
	if i < 0 {
		if len(dst) == 0 {
			return body
		}
		return append(dst, body...)
	}
	for i >= 0 {
		dst = append(dst, body[:i]...)
		var n int
		dst, n = unescape(dst, body[i:])
		body = body[i+n:]
		i = indexBackslash(body)
	}
	return append(dst, body...)
}

func indexBackslash(b []byte) int {
	for i, c := range b {
		if c == '\\' {
			return i
		}
	}
	return -1
}

// unescape appends what the escape at the start of b stands for and tells its length.
func unescape(dst, b []byte) ([]byte, int) {
	switch b[1] {
	case 'n':
		return append(dst, '\n'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'u':
		r := hex4(b[2:])
		if r < 0xd800 || r > 0xdfff {
			return utf8.AppendRune(dst, r), 6
		}
		if r < 0xdc00 && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
			if low := hex4(b[8:]); low >= 0xdc00 && low <= 0xdfff {
				return utf8.AppendRune(dst, (r-0xd800)<<10+(low-0xdc00)+0x10000), 12
			}
		}
		return utf8.AppendRune(dst, utf8.RuneError), 6
	}
	return append(dst, b[1]), 2
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		case c <= 'F':
			r |= rune(c - 'A' + 10)
		default:
			r |= rune(c - 'a' + 10)
		}
	}
	return r
}
