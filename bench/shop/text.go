package shop

import "time"

const hexDigits = "0123456789abcdef"

// appendHex writes sixteen hexadecimal digits.
func appendHex(dst []byte, x uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[x>>shift&15])
	}
	return dst
}

// appendUUID writes 128 bits as a random UUID (RFC 9562, version 4).
func appendUUID(dst []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	var b [36]byte
	for i, at := range [...]int{0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17} {
		b[at] = hexDigits[hi>>(60-4*i)&15]
	}
	for i, at := range [...]int{19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35} {
		b[at] = hexDigits[lo>>(60-4*i)&15]
	}
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return append(dst, b[:]...)
}

// appendDigits writes n with leading zeros, width digits wide.
func appendDigits(dst []byte, n uint64, width int) []byte {
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= len(dst)-width; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

const dayMillis = 24 * 3600 * 1000

// time writes milliseconds since 1970 as RFC 3339 in UTC. The day, which is the costly part, is
// remembered.
func (s *Stream) time(ms int64) {
	day := ms / dayMillis
	if day != s.day || s.date == "" {
		s.day, s.date = day, formatDate(ms)
	}
	rest := uint64(ms - day*dayMillis)
	s.raw(s.date)
	s.event = appendDigits(s.event, rest/3600_000, 2)
	s.raw(":")
	s.event = appendDigits(s.event, rest/60_000%60, 2)
	s.raw(":")
	s.event = appendDigits(s.event, rest/1000%60, 2)
	s.raw(".")
	s.event = appendDigits(s.event, rest%1000, 3)
	s.raw("Z")
}

func formatDate(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T") }
