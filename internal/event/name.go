package event

import (
	"unicode"
	"unicode/utf8"
)

// FoldName appends to dst what of an event's name is compared (spec 2.7): trimmed, in lower case, with _ and -
// read as spaces, and runs of spaces as one. It answers false for what no known name is: it is longer than
// dst has room for, or not ASCII.
func FoldName(dst []byte, name string) ([]byte, bool) {
	space := false
	for _, r := range name {
		if r == '_' || r == '-' || unicode.IsSpace(r) {
			space = len(dst) > 0
			continue
		}
		if space && len(dst) < cap(dst) {
			dst = append(dst, ' ')
		}
		if r >= utf8.RuneSelf || len(dst) == cap(dst) {
			return dst, false
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		dst, space = append(dst, byte(r)), false
	}
	return dst, true
}
