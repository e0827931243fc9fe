package jsonscan

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// scanner is the recursive-descent validator. Depth counts the containers around pos.
type scanner struct {
	data     []byte
	pos      int
	maxDepth int
	escaped  bool // set by every escape
}

func (s *scanner) fail(reason string) error {
	if s.pos >= len(s.data) {
		reason = "unexpected end of input"
	}
	return &SyntaxError{Offset: s.pos, Reason: reason}
}

func (s *scanner) tooDeep() error {
	return fmt.Errorf("%w: more than %d levels at byte %d", ErrTooDeep, s.maxDepth, s.pos)
}

// peek is the current byte, or 0 at the end (0 is valid nowhere in JSON outside an error).
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// space skips white space. Programs write none, which is told in place.
func (s *scanner) space() {
	if s.pos < len(s.data) && s.data[s.pos] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) end() error {
	s.space()
	if s.pos != len(s.data) {
		return s.fail("unexpected text after the value")
	}
	return nil
}

func (s *scanner) value(depth int) error {
	switch c := s.peek(); c {
	case '{', '[':
		if depth >= s.maxDepth {
			return s.tooDeep()
		}
		s.pos++
		if c == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case '"':
		return s.str()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) object(depth int) error {
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.fail("expected a member name")
		}
		if err := s.str(); err != nil {
			return err
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("expected a colon")
		}
		s.pos++
		s.space()
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case '}':
			s.pos++
			return nil
		default:
			return s.fail("expected a comma or the end of the object")
		}
	}
}

func (s *scanner) array(depth int) error {
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
			s.space()
		case ']':
			s.pos++
			return nil
		default:
			return s.fail("expected a comma or the end of the array")
		}
	}
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail("expected a value")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case c >= '1' && c <= '9':
		s.digits()
	default:
		return s.fail("expected a value")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("expected a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("expected a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// Eight bytes at once: the low and the high bit of each.
const (
	low  = 0x0101010101010101
	high = 0x8080808080808080
)

// special marks, by its high bit, the first byte of eight that wants a look inside a string: a
// quote, a backslash, a control character, or the start of what is not ASCII. Behind the first mark
// there may be false ones, for a borrow runs upwards. (A byte that is not ASCII is marked by itself, so
// that it does not matter what the differences make of it.)
func special(x uint64) uint64 {
	quote, backslash := x^(low*'"'), x^(low*'\\')
	return ((quote - low) | (backslash - low) | (x - low*' ') | x) & high
}

// plain is where the next byte that wants a look is, from pos on: special says which those are.
func plain(data []byte, pos int) int {
	for len(data)-pos >= 8 {
		if m := special(binary.LittleEndian.Uint64(data[pos:])); m != 0 {
			return pos + bits.TrailingZeros64(m)>>3
		}
		pos += 8
	}
	for pos < len(data) {
		if c := data[pos]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
		pos++
	}
	return pos
}

func (s *scanner) str() error {
	if s.peek() != '"' {
		return s.fail("expected a string")
	}
	s.pos++
	for {
		s.pos = plain(s.data, s.pos)
		if s.pos >= len(s.data) {
			return s.fail("unterminated string")
		}
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < ' ':
			return s.fail("control character in a string")
		default:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return s.fail("invalid UTF-8")
			}
			s.pos += n
		}
	}
}

func (s *scanner) escape() error {
	s.escaped = true
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			c := s.peek()
			if c-'0' > 9 && c-'a' > 5 && c-'A' > 5 {
				return s.fail("invalid escape")
			}
			s.pos++
		}
		return nil
	}
	return s.fail("invalid escape")
}
