package jsonscan

import (
	"math/bits"
	"testing"
)

// The first byte that wants a look is found wherever it is and whatever its neighbours are: the words are
// looked at with arithmetic that runs from one byte into the next.
func TestFirstOfAWord(t *testing.T) {
	wantsLook := func(c byte) bool { return c == '"' || c == '\\' || c < ' ' || c >= 0x80 }
	ends := func(c byte) bool { return c == '"' || c == '\\' }
	for _, find := range []struct {
		name string
		mark func(uint64) uint64
		is   func(byte) bool
	}{{"special", special, wantsLook}, {"quoteOrBackslash", quoteOrBackslash, ends}} {
		for _, fill := range []byte{'a', ' ', '!', '#', '[', ']', 0x7f, 0x80, 0x81, 0xa2, 0xdc, 0xff} {
			if find.is(fill) {
				continue
			}
			for i := range 256 * 256 {
				for at := range 7 {
					x := low*uint64(fill)&^(0xffff<<(8*at)) | uint64(i)<<(8*at)
					want := 8
					for n := range 8 {
						if find.is(byte(x >> (8 * n))) {
							want = n
							break
						}
					}
					if got := bits.TrailingZeros64(find.mark(x)) >> 3; got != want {
						t.Fatalf("%s: byte %d of %016x, want %d", find.name, got, x, want)
					}
				}
			}
		}
	}
}
