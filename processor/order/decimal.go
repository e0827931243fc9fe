package order

import (
	"bytes"

	"github.com/cockroachdb/apd/v3"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Limits of money and quantities, so that every one fits DECIMAL(38, 18). What exceeds them, or is
// no decimal, counts as absent.
const (
	MaxWholeDigits    = 20 // before the point
	MaxFractionDigits = 18 // after it; trailing zeros beyond do no harm
	maxDecimalBytes   = 128
)

// decimal is the plain text of a JSON number or of a string that holds one, spaces around it
// ignored: digits as given, exponents written out, no plus sign, no negative zero. "" is no decimal.
func decimal(raw []byte) string {
	switch jsonscan.KindOf(raw) {
	case jsonscan.Number:
		if short(raw) {
			return string(raw)
		}
	case jsonscan.String:
		raw = bytes.TrimSpace(jsonscan.Unquote(nil, raw))
	default:
		return ""
	}
	if len(raw) > maxDecimalBytes || len(bytes.Trim(raw, "0123456789+-.eE")) > 0 {
		return "" // what apd reads beyond decimals (NaN, Infinity) is no money
	}
	var d apd.Decimal
	if _, _, err := d.SetString(string(raw)); err != nil {
		return ""
	}
	return plain(&d)
}

// short tells whether a JSON number is its own plain text, as most are.
func short(number []byte) bool {
	if len(number) > MaxFractionDigits {
		return false
	}
	for _, c := range number {
		if c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// plain writes a decimal without an exponent, "" where it is beyond the limits. It changes d's
// form, not its value.
func plain(d *apd.Decimal) string {
	if d.IsZero() {
		d.Negative = false
		d.Exponent = min(d.Exponent, 0)
	}
	if d.Exponent < -MaxFractionDigits {
		d.Reduce(d)
	}
	if d.Exponent < -MaxFractionDigits || d.NumDigits()+int64(d.Exponent) > MaxWholeDigits {
		return ""
	}
	return d.Text('f')
}

// parse reads a text that decimal or plain has written.
func parse(d *apd.Decimal, text string) bool {
	_, _, err := d.SetString(text)
	return err == nil && d.Form == apd.Finite
}

// sameDecimal compares by value; "" is only the same as "".
func sameDecimal(a, b string) bool {
	if a == b || a == "" || b == "" {
		return a == b
	}
	var x, y apd.Decimal
	return parse(&x, a) && parse(&y, b) && x.Cmp(&y) == 0
}

func positive(text string) bool {
	var d apd.Decimal
	return parse(&d, text) && d.Sign() > 0
}

// add and subtract are exact: the context has no precision to round to. They answer false where
// the result is beyond the limits.
func add(a, b string) (string, bool)      { return combine(a, b, apd.BaseContext.Add) }
func subtract(a, b string) (string, bool) { return combine(a, b, apd.BaseContext.Sub) }

func combine(a, b string, op func(d, x, y *apd.Decimal) (apd.Condition, error)) (string, bool) {
	var x, y apd.Decimal
	if !parse(&x, a) || !parse(&y, b) {
		return "", false
	}
	if _, err := op(&x, &x, &y); err != nil {
		return "", false
	}
	text := plain(&x)
	return text, text != ""
}
