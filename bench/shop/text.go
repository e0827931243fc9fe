package shop

import (
	"fmt"
	"time"
)

// hexPairs are the two digits of every byte.
var hexPairs = func() (all [256][2]byte) {
	for b := range all {
		copy(all[b][:], fmt.Sprintf("%02x", b))
	}
	return all
}()

// appendHex writes sixteen hexadecimal digits.
func appendHex(dst []byte, x uint64) []byte {
	var b [16]byte
	putHex(b[:], x)
	return append(dst, b[:]...)
}

// putHex fills to, which has an even length, with the last hexadecimal digits of x.
func putHex(to []byte, x uint64) {
	for len(to) >= 2 {
		pair := &hexPairs[byte(x)]
		to[len(to)-2], to[len(to)-1] = pair[0], pair[1]
		to = to[:len(to)-2]
		x >>= 8
	}
}

// appendUUID writes 128 bits as a random UUID (RFC 9562, version 4).
func appendUUID(dst []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	b := [36]byte{8: '-', 13: '-', 18: '-', 23: '-'}
	putHex(b[:8], hi>>32)
	putHex(b[9:13], hi>>16)
	putHex(b[14:18], hi)
	putHex(b[19:23], lo>>48)
	putHex(b[24:], lo)
	return append(dst, b[:]...)
}

// appendDigits writes n with leading zeros, width digits wide.
func appendDigits(dst []byte, n uint64, width int) []byte {
	const zeros = "00000000"
	dst = append(dst, zeros[:width]...)
	putDigits(dst[len(dst)-width:], n)
	return dst
}

func putDigits(to []byte, n uint64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}

const dayMillis = 24 * 3600 * 1000

// time writes milliseconds since 1970 as RFC 3339 in UTC. The day, which is the costly part, is
// remembered.
func (s *Stream) time(ms int64) {
	day := ms / dayMillis
	if day != s.day || s.stamp[0] == 0 {
		s.day = day
		copy(s.stamp[:], "0000-00-00T00:00:00.000Z")
		time.UnixMilli(ms).UTC().AppendFormat(s.stamp[:0], time.DateOnly)
	}
	rest := uint64(ms - day*dayMillis)
	putDigits(s.stamp[11:13], rest/3600_000)
	putDigits(s.stamp[14:16], rest/60_000%60)
	putDigits(s.stamp[17:19], rest/1000%60)
	putDigits(s.stamp[20:23], rest%1000)
	s.event = append(s.event, s.stamp[:]...)
}
