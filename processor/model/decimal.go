package model

import (
	"math/big"
	"strings"
)

// decimal is the one text of a JSON number's value: digits without leading and trailing zeros, and
// a power of ten: 1200 and 1.2e3 are both 12e2.
func decimal(number string) string {
	sign := ""
	if s, ok := strings.CutPrefix(number, "-"); ok {
		sign, number = "-", s
	}
	mantissa, power, _ := strings.Cut(strings.ToLower(number), "e")
	exponent := new(big.Int)
	if power != "" {
		exponent.SetString(strings.TrimPrefix(power, "+"), 10)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent.Sub(exponent, big.NewInt(int64(len(fraction))))
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(short))))
	switch {
	case short == "":
		return "0"
	case exponent.Sign() == 0:
		return sign + short
	}
	return sign + short + "e" + exponent.String()
}
