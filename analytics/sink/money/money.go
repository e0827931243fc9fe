// Package money reads decimal text into the form ClickHouse's Decimal(38, 9) has on the wire,
// without a float and without allocating. It is pure.
package money

import "math/bits"

const (
	// Places is the number of digits after the point that are kept. What has more is rounded, half
	// away from zero.
	Places = 9
	// maxDigits bounds an amount, Places included: it fits Decimal(38, 9).
	maxDigits = 38
	// maxExponent is beyond any exponent that can bring digits into range, also those of the longest
	// text: larger ones are cut down to it, so that no sum overflows.
	maxExponent = 1 << 40
)

// Amount is a decimal number times 10^Places, as a 128-bit integer in two's complement.
type Amount struct {
	Low  uint64
	High uint64
}

// Parse reads a JSON number, or the text of one: "19.99", "1e2", "-0.5", " 7 " . It answers false
// for other text and for what is too large for 29 digits before the point.
func Parse(text string) (Amount, bool) {
	n, ok := scan(text)
	if !ok {
		return Amount{}, false
	}
	// The amount is the digits times 10^shift; the digits before keep stay, what follows is cut off.
	shift := n.exponent + Places
	keep := n.digits + shift
	switch {
	case n.digits == 0 || keep < 0:
		return Amount{}, true // zero
	case keep > maxDigits:
		return Amount{}, false
	}
	a, ok := n.collect(int(keep))
	if ok && n.negative {
		a = a.negated()
	}
	return a, ok
}

// number is a scanned text: its digits without leading zeros are text's digits from start on, and
// they stand for an integer times 10^exponent.
type number struct {
	text     string // digits and at most one point, from the first digit that is not 0
	digits   int64
	exponent int64
	negative bool
}

func scan(text string) (n number, ok bool) {
	s := trim(text)
	if s != "" && (s[0] == '-' || s[0] == '+') {
		n.negative = s[0] == '-'
		s = s[1:]
	}
	var i, seen, start int
	point := false
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen++
		if n.digits == 0 && c == '0' {
			start = i + 1
		} else {
			n.digits++
		}
		if point {
			n.exponent--
		}
	}
	if seen == 0 {
		return n, false
	}
	n.text = s[min(start, i):i]
	if i == len(s) {
		return n, true
	}
	e, ok := exponent(s[i:])
	n.exponent += e
	return n, ok
}

// exponent reads "e+12".
func exponent(s string) (e int64, ok bool) {
	if s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	s = s[1:]
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		e = min(e*10+int64(s[i]-'0'), maxExponent)
	}
	if negative {
		e = -e
	}
	return e, true
}

// collect is the integer of the first keep digits, rounded by the next one; missing digits are 0.
func (n number) collect(keep int) (a Amount, ok bool) {
	taken, roundUp := 0, false
	for i := range len(n.text) {
		c := n.text[i]
		if c == '.' {
			continue
		}
		if taken == keep {
			roundUp = c >= '5'
			break
		}
		a = a.shifted(uint64(c - '0'))
		taken++
	}
	for ; taken < keep; taken++ {
		a = a.shifted(0)
	}
	if roundUp {
		var carry uint64
		a.Low, carry = bits.Add64(a.Low, 1, 0)
		a.High += carry
		if a == tooLarge {
			return Amount{}, false
		}
	}
	return a, true
}

// tooLarge is 10^38, the first integer with too many digits.
var tooLarge = func() (a Amount) {
	a.Low = 1
	for range maxDigits {
		a = a.shifted(0)
	}
	return a
}()

// shifted is a times ten plus digit. The caller sees to it that 38 digits are never exceeded.
func (a Amount) shifted(digit uint64) Amount {
	high, low := bits.Mul64(a.Low, 10)
	low, carry := bits.Add64(low, digit, 0)
	return Amount{Low: low, High: a.High*10 + high + carry}
}

func (a Amount) negated() Amount {
	low, borrow := bits.Sub64(0, a.Low, 0)
	high, _ := bits.Sub64(0, a.High, borrow)
	return Amount{Low: low, High: high}
}

func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == '\r' || s[0] == '\n') {
		s = s[1:]
	}
	for n := len(s); n > 0 && (s[n-1] == ' ' || s[n-1] == '\t' || s[n-1] == '\r' || s[n-1] == '\n'); n = len(s) {
		s = s[:n-1]
	}
	return s
}
