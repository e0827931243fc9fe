package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// Walk iterates over the members of an object that is known to be valid (a raw value that Members handed
// out), and of the objects in it, in one pass and without validating anything again. A value that nobody
// asks for is skipped. Text that is not valid is a bug of the caller, and may panic.
//
//	var w jsonscan.Walk
//	for w.Reset(object); w.Next(); {
//		switch string(w.Key()) {
//		case "title":
//			use(w.Value())
//		case "page":
//			if w.Enter() {
//				for w.Next() { … }
//			}
//		}
//	}
type Walk struct {
	data   []byte
	pos    int
	key    []byte // with its quotes
	keyBuf [64]byte
	plain  bool // the key has no escapes
	ahead  bool // the value of the key is still to be read
}

// Reset starts over on an object.
func (w *Walk) Reset(object []byte) { w.data, w.pos, w.ahead = object, 0, false }

// Next moves to the next member. It answers false at the end of an object; after that of one that was
// entered it goes on behind it.
func (w *Walk) Next() bool {
	data, pos := w.data, w.pos
	if w.ahead {
		pos = skip(data, pos)
	}
	w.ahead = false
	pos = blank(data, pos)
	if c := at(data, pos); c != '{' && c != ',' {
		w.pos = pos + 1
		return false
	}
	start := blank(data, pos+1)
	if at(data, start) != '"' {
		w.pos = start + 1
		return false
	}
	pos, escaped := skipString(data, start)
	w.key, w.plain = data[start:pos], !escaped
	w.pos = blank(data, blank(data, pos)+1) // behind the colon
	w.ahead = w.pos < len(data)
	return w.ahead
}

// Key is the current member's name, unescaped. It is valid until the next call of Next.
func (w *Walk) Key() []byte {
	if w.plain {
		return w.key[1 : len(w.key)-1]
	}
	return Unquote(w.keyBuf[:0], w.key)
}

// Value is the current member's raw value. It is asked for once.
func (w *Walk) Value() []byte {
	w.ahead = false
	start := w.pos
	w.pos = skip(w.data, start)
	return w.data[start:w.pos]
}

// Enter makes Next go through the members of the current value, in place of Value. It answers false, and
// changes nothing, where the value is no object.
func (w *Walk) Enter() bool {
	if w.data[w.pos] != '{' {
		return false
	}
	w.ahead = false
	return true
}

// blank skips white space, in text that has nothing else of what is not above it.
func blank(data []byte, pos int) int {
	for uint(pos) < uint(len(data)) && data[pos] <= ' ' {
		pos++
	}
	return pos
}

// skip is where the value ends that begins at pos.
func skip(data []byte, pos int) int {
	switch at(data, pos) {
	case '"':
		pos, _ = skipString(data, pos)
		return pos
	case '{', '[':
		return skipContainer(data, pos)
	}
	for pos < len(data) && !ends(data[pos]) {
		pos++
	}
	return pos
}

// Skip is where the object, array or string ends that begins at pos, in text that need not be valid: brackets
// are counted, not matched. It answers false where the text ends first.
func Skip(data []byte, pos int) (end int, closed bool) {
	if data[pos] == '"' {
		end, _ = skipString(data, pos)
	} else {
		end = skipContainer(data, pos)
	}
	return end, end <= len(data)
}

// ends tells what can come after a number or a literal.
func ends(c byte) bool { return c == ',' || c == '}' || c == ']' || c <= ' ' }

// skipString is where the string ends that begins at pos, and whether there are escapes in it. One that does
// not end ends behind the text.
func skipString(data []byte, pos int) (end int, escaped bool) {
	pos++
	for {
		for len(data)-pos >= 8 {
			if m := quoteOrBackslash(binary.LittleEndian.Uint64(data[pos:])); m != 0 {
				pos += bits.TrailingZeros64(m) >> 3
				break
			}
			pos += 8
		}
		for pos < len(data) && data[pos] != '"' && data[pos] != '\\' {
			pos++
		}
		if pos >= len(data) {
			return len(data) + 1, escaped
		}
		if data[pos] == '"' {
			return pos + 1, escaped
		}
		escaped = true
		pos += 2
	}
}

// quoteOrBackslash marks, by its high bit, the first of eight bytes that is one. See special.
func quoteOrBackslash(x uint64) uint64 {
	quote, backslash := x^(low*'"'), x^(low*'\\')
	return ((quote - low) | (backslash - low)) &^ x & high
}

// skipContainer is where the object or array ends that begins at pos: behind the text, if it does not.
func skipContainer(data []byte, pos int) int {
	depth := 0
	for pos < len(data) {
		switch data[pos] {
		case '"':
			pos, _ = skipString(data, pos)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return pos + 1
			}
		}
		pos++
	}
	return len(data) + 1
}
