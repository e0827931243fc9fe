package money

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// integer is an amount as a number times 10^9.
func integer(a Amount) *big.Int {
	v := new(big.Int).Lsh(new(big.Int).SetUint64(a.High), 64)
	v.Or(v, new(big.Int).SetUint64(a.Low))
	if a.High>>63 == 1 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return v
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.0": "0", "1": "1000000000", "19.99": "19990000000", "19.990": "19990000000",
		"1e2": "100000000000", "1E+2": "100000000000", "-0.5": "-500000000", "\t7 \n": "7000000000", "100.00": "100000000000",
		"9007199254740993":       "9007199254740993000000000",
		"0.000000001":            "1",
		"0.0000000005":           "1",
		"0.00000000049":          "0",
		"-0.0000000005":          "-1",
		"0.9999999999":           "1000000000",
		"1e-400000":              "0",
		"0e99999999999999999999": "0",
		"99999999999999999999999999999.999999999":   "99999999999999999999999999999999999999",
		strings.Repeat("0", 5000) + "1":             "1000000000",
		"0." + strings.Repeat("0", 5000) + "1e5001": "1000000000",
		".5": "500000000", "5.": "5000000000",
	} {
		got, ok := Parse(text)
		if !ok || integer(got).String() != want {
			t.Errorf("Parse(%.40q) = %v, %v, want %s", text, integer(got), ok, want)
		}
	}
	for _, text := range []string{
		"", " ", ".", "-", "abc", "$5", "1,000", "1e", "1e+", "1ex", "0x10", "1.2.3", "NaN", "1 2",
		"100000000000000000000000000000", "99999999999999999999999999999.9999999995", "1e29", "1e999999999999999999999",
	} {
		if got, ok := Parse(text); ok {
			t.Errorf("Parse(%q) = %v, want a refusal", text, integer(got))
		}
	}
}

// Every decimal text in range is read as the exact number, rounded half away from zero at nine places.
func TestParseIsExact(t *testing.T) {
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(Places), nil))
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,32}(\.[0-9]{1,14})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Skip()
		}
		exact.Mul(exact, scale)
		twice := new(big.Int).Mul(exact.Num(), big.NewInt(2))
		denominator := new(big.Int).Mul(exact.Denom(), big.NewInt(2))
		if twice.Sign() < 0 {
			twice.Sub(twice, exact.Denom())
		} else {
			twice.Add(twice, exact.Denom())
		}
		want := new(big.Int).Quo(twice, denominator)
		got, ok := Parse(text)
		if inRange := want.CmpAbs(limit) < 0; ok != inRange || ok && integer(got).Cmp(want) != 0 {
			t.Fatalf("Parse(%q) = %v, %v, want %v, %v", text, integer(got), ok, want, inRange)
		}
	})
}

func TestParseAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Parse("-12345678901234567890.123456789123e-3") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
