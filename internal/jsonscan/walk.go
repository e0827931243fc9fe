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
	if w.ahead {
		w.Value()
	}
	switch w.space() {
	case '{', ',':
		w.pos++
	default:
		w.pos++
		return false
	}
	if w.space() != '"' {
		w.pos++
		return false
	}
	start := w.pos
	w.plain = !w.skipString()
	w.key = w.data[start:w.pos]
	w.space()
	w.pos++ // the colon
	w.space()
	w.ahead = w.pos < len(w.data)
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
	w.skip()
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

// space skips white space and answers what comes then, or 0.
func (w *Walk) space() byte {
	for w.pos < len(w.data) {
		if c := w.data[w.pos]; c > ' ' {
			return c
		}
		w.pos++
	}
	return 0
}

func (w *Walk) skip() {
	if w.pos >= len(w.data) {
		return
	}
	switch w.data[w.pos] {
	case '"':
		w.skipString()
	case '{', '[':
		w.skipContainer()
	default:
		for w.pos < len(w.data) && !ends(w.data[w.pos]) {
			w.pos++
		}
	}
}

// ends tells what can come after a number or a literal.
func ends(c byte) bool { return c == ',' || c == '}' || c == ']' || c <= ' ' }

// skipString answers whether there are escapes in it.
func (w *Walk) skipString() (escaped bool) {
	pos := w.pos + 1
	for {
		for len(w.data)-pos >= 8 {
			m := quoteOrBackslash(binary.LittleEndian.Uint64(w.data[pos:]))
			if m != 0 {
				pos += bits.TrailingZeros64(m) >> 3
				break
			}
			pos += 8
		}
		for pos < len(w.data) && w.data[pos] != '"' && w.data[pos] != '\\' {
			pos++
		}
		if pos >= len(w.data) {
			w.pos = len(w.data)
			return escaped
		}
		if w.data[pos] == '"' {
			w.pos = pos + 1
			return escaped
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

func (w *Walk) skipContainer() {
	depth := 0
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case '"':
			w.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		w.pos++
		if depth == 0 {
			return
		}
	}
}
