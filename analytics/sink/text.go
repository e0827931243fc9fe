package sink

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// textBlock is the size of the blocks texts fills.
const textBlock = 256 << 10

// texts keeps many texts in a few large blocks, so that a value costs no allocation of its own. What it
// hands out is valid until reset.
type texts struct {
	blocks [][]byte
	used   int // blocks in use; the last of them is being filled
}

// keep copies b and answers the copy.
func (t *texts) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if t.used == 0 || cap(t.blocks[t.used-1])-len(t.blocks[t.used-1]) < len(b) {
		t.turn(len(b))
	}
	block := &t.blocks[t.used-1]
	start := len(*block)
	*block = append(*block, b...)
	return (*block)[start:]
}

func (t *texts) turn(size int) {
	if t.used < len(t.blocks) && cap(t.blocks[t.used]) >= size {
		t.used++
		return
	}
	t.blocks = append(t.blocks[:t.used], make([]byte, 0, max(textBlock, size)))
	t.used++
}

func (t *texts) reset() {
	for i := range t.blocks {
		t.blocks[i] = t.blocks[i][:0]
	}
	t.used = 0
}

// memory is how many bytes the texts hold on to, also when there are none.
func (t *texts) memory() (n int) {
	for _, b := range t.blocks {
		n += cap(b)
	}
	return n
}

// view is b as a string, without a copy. The caller knows that nobody changes b while the string is
// in use: a block of texts is only appended to until it is reset, and a record is not written to before it
// was taken.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// maybeSurrogate tells whether JSON text may hold the escape of a surrogate. Few texts do.
func maybeSurrogate(raw []byte) bool {
	at := bytes.IndexByte(raw, '\\') // most texts have no escape at all, and to find that out is quick
	return at >= 0 && (bytes.Contains(raw[at:], []byte(`\ud`)) || bytes.Contains(raw[at:], []byte(`\uD`)))
}

// mend replaces the lone surrogates in valid JSON text by U+FFFD, in place: no decoder would take
// them, ClickHouse's included.
func mend(text []byte) {
	for i := bytes.IndexByte(text, '\\'); i >= 0; i = bytes.IndexByte(text, '\\') {
		n := 2
		if text[i+1] == 'u' {
			n = 6
			if isSurrogate(text[i+2:]) {
				if isPair(text[i:]) {
					n = 12
				} else {
					copy(text[i+2:], "fffd")
				}
			}
		}
		text = text[i+n:]
	}
}

// isSurrogate tells whether four hex digits are in D800 to DFFF.
func isSurrogate(hex []byte) bool {
	return hex[0]|0x20 == 'd' && (hex[1] >= '8' && hex[1] <= '9' || hex[1]|0x20 >= 'a' && hex[1]|0x20 <= 'f')
}

// isPair tells whether two escapes are one character. jsonscan knows.
func isPair(escapes []byte) bool {
	if len(escapes) < 12 || escapes[6] != '\\' || escapes[7] != 'u' {
		return false
	}
	var quoted [14]byte
	quoted[0], quoted[13] = '"', '"'
	copy(quoted[1:], escapes[:12])
	var buf [8]byte
	r, n := utf8.DecodeRune(jsonscan.Unquote(buf[:0], quoted[:]))
	return n == 4 && r != utf8.RuneError
}
