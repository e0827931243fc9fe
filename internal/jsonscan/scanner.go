package jsonscan

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// scanner is the recursive-descent validator. Its methods are told where to go on and answer where they came
// to: a place that went through memory from one token to the next would be most of what a token costs. Depth
// counts the containers around it.
type scanner struct {
	data     []byte
	maxDepth int
	escaped  bool // set by every escape
}

func (s *scanner) fail(pos int, reason string) (int, error) {
	if pos >= len(s.data) {
		pos, reason = len(s.data), "unexpected end of input"
	}
	return pos, &SyntaxError{Offset: pos, Reason: reason}
}

func (s *scanner) tooDeep(pos int) (int, error) {
	return pos, fmt.Errorf("%w: more than %d levels at byte %d", ErrTooDeep, s.maxDepth, pos)
}

// at is the byte there, or 0 at the end (0 is valid nowhere in JSON outside an error).
func at(data []byte, pos int) byte {
	if uint(pos) < uint(len(data)) {
		return data[pos]
	}
	return 0
}

// space skips white space. Programs write none, which is told in place.
func space(data []byte, pos int) int {
	if uint(pos) < uint(len(data)) && data[pos] <= ' ' {
		return spaces(data, pos)
	}
	return pos
}

func spaces(data []byte, pos int) int {
	for pos < len(data) {
		switch data[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		default:
			return pos
		}
	}
	return pos
}

func (s *scanner) end(pos int) (err error) {
	if pos = space(s.data, pos); pos != len(s.data) {
		_, err = s.fail(pos, "unexpected text after the value")
	}
	return err
}

func (s *scanner) value(pos, depth int) (int, error) {
	switch c := at(s.data, pos); c {
	case '"':
		return s.str(pos)
	case '{', '[':
		if depth >= s.maxDepth {
			return s.tooDeep(pos)
		}
		if c == '{' {
			return s.object(pos+1, depth+1)
		}
		return s.array(pos+1, depth+1)
	case 't':
		return s.literal(pos, "true")
	case 'f':
		return s.literal(pos, "false")
	case 'n':
		return s.literal(pos, "null")
	}
	return s.number(pos)
}

func (s *scanner) object(pos, depth int) (_ int, err error) {
	data := s.data
	if pos = space(data, pos); at(data, pos) == '}' {
		return pos + 1, nil
	}
	for {
		if at(data, pos) != '"' {
			return s.fail(pos, "expected a member name")
		}
		if pos, err = s.str(pos); err != nil {
			return pos, err
		}
		if pos = space(data, pos); at(data, pos) != ':' {
			return s.fail(pos, "expected a colon")
		}
		if pos, err = s.value(space(data, pos+1), depth); err != nil {
			return pos, err
		}
		pos = space(data, pos)
		switch at(data, pos) {
		case ',':
			pos = space(data, pos+1)
		case '}':
			return pos + 1, nil
		default:
			return s.fail(pos, "expected a comma or the end of the object")
		}
	}
}

func (s *scanner) array(pos, depth int) (_ int, err error) {
	data := s.data
	if pos = space(data, pos); at(data, pos) == ']' {
		return pos + 1, nil
	}
	for {
		if pos, err = s.value(pos, depth); err != nil {
			return pos, err
		}
		pos = space(data, pos)
		switch at(data, pos) {
		case ',':
			pos = space(data, pos+1)
		case ']':
			return pos + 1, nil
		default:
			return s.fail(pos, "expected a comma or the end of the array")
		}
	}
}

func (s *scanner) literal(pos int, word string) (int, error) {
	if len(s.data)-pos < len(word) || string(s.data[pos:pos+len(word)]) != word {
		return s.fail(pos, "expected a value")
	}
	return pos + len(word), nil
}

func (s *scanner) number(pos int) (int, error) {
	data := s.data
	if at(data, pos) == '-' {
		pos++
	}
	switch c := at(data, pos); {
	case c == '0':
		pos++
	case c >= '1' && c <= '9':
		pos = digits(data, pos)
	default:
		return s.fail(pos, "expected a value")
	}
	if at(data, pos) == '.' {
		pos++
		start := pos
		if pos = digits(data, pos); pos == start {
			return s.fail(pos, "expected a digit")
		}
	}
	if c := at(data, pos); c == 'e' || c == 'E' {
		pos++
		if c := at(data, pos); c == '+' || c == '-' {
			pos++
		}
		start := pos
		if pos = digits(data, pos); pos == start {
			return s.fail(pos, "expected a digit")
		}
	}
	return pos, nil
}

func digits(data []byte, pos int) int {
	for pos < len(data) && data[pos]-'0' <= 9 {
		pos++
	}
	return pos
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

func (s *scanner) str(pos int) (int, error) {
	data := s.data
	if at(data, pos) != '"' {
		return s.fail(pos, "expected a string")
	}
	// Nearly all strings are short and plain.
	for pos++; len(data)-pos >= 8; pos += 8 {
		if m := special(binary.LittleEndian.Uint64(data[pos:])); m != 0 {
			if pos += bits.TrailingZeros64(m) >> 3; data[pos] == '"' {
				return pos + 1, nil
			}
			break
		}
	}
	return s.rest(pos)
}

// rest is what follows in a string, from anywhere in it.
func (s *scanner) rest(pos int) (_ int, err error) {
	data := s.data
	for {
		pos = plain(data, pos)
		if pos >= len(data) {
			return s.fail(pos, "unterminated string")
		}
		switch c := data[pos]; {
		case c == '"':
			return pos + 1, nil
		case c == '\\':
			if pos, err = s.escape(pos); err != nil {
				return pos, err
			}
		case c < ' ':
			return s.fail(pos, "control character in a string")
		default:
			r, n := utf8.DecodeRune(data[pos:])
			if r == utf8.RuneError && n == 1 {
				return s.fail(pos, "invalid UTF-8")
			}
			pos += n
		}
	}
}

func (s *scanner) escape(pos int) (int, error) {
	s.escaped = true
	pos++
	switch at(s.data, pos) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return pos + 1, nil
	case 'u':
		pos++
		for range 4 {
			c := at(s.data, pos)
			if c-'0' > 9 && c-'a' > 5 && c-'A' > 5 {
				return s.fail(pos, "invalid escape")
			}
			pos++
		}
		return pos, nil
	}
	return s.fail(pos, "invalid escape")
}
