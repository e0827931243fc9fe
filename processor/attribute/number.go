package attribute

import (
	"bytes"
	"strconv"
	"strings"
)

// equalNumbers compares two JSON numbers by their exact decimal value, in time linear in their
// text: exponents are never expanded.
func equalNumbers(a, b string) bool {
	if a == b {
		return true
	}
	var x, y [64]byte
	return bytes.Equal(appendNumber(x[:0], a), appendNumber(y[:0], b))
}

// smallExponent is how many digits of an exponent are added to in an int64.
const smallExponent = 18

// appendNumber appends the one text of a number's value: its significant digits d and an exponent
// e, for 0.d × 10^e; "0" for any zero.
func appendNumber(dst []byte, text string) []byte {
	start := len(dst)
	if text[0] == '-' {
		dst = append(dst, '-')
		text = text[1:]
	}
	mantissa, exp := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exp = text[:i], text[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	var point int
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		digits := strings.TrimLeft(fraction, "0")
		point = len(digits) - len(fraction)
		fraction = digits
	} else {
		point = len(whole)
	}
	digits := len(dst)
	dst = append(append(dst, whole...), fraction...)
	dst = dst[:digits+len(bytes.TrimRight(dst[digits:], "0"))]
	if len(dst) == digits {
		return append(dst[:start], '0')
	}
	return appendExponent(append(dst, 'e'), exp, int64(point))
}

// appendExponent appends the sum of an exponent, as JSON writes it, and n.
func appendExponent(dst []byte, exp string, n int64) []byte {
	negative := strings.HasPrefix(exp, "-")
	exp = strings.TrimLeft(strings.TrimLeft(exp, "+-"), "0")
	if len(exp) <= smallExponent {
		e, _ := strconv.ParseInt("0"+exp, 10, 64) // digits only, and few
		if negative {
			e = -e
		}
		return strconv.AppendInt(dst, e+n, 10)
	}
	// n, at most the length of a text, cannot change the sign of so large an exponent.
	if negative {
		dst = append(dst, '-')
		n = -n
	}
	sum := []byte("0" + exp)
	for i := len(sum) - 1; i >= 0 && n != 0; i-- {
		n += int64(sum[i] - '0')
		digit := (n%10 + 10) % 10
		sum[i] = byte('0' + digit)
		n = (n - digit) / 10
	}
	return append(dst, bytes.TrimLeft(sum, "0")...)
}
