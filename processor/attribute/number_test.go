package attribute

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbersAgreeWithRationals(t *testing.T) {
	digits := rapid.StringMatching(`[0-9]{1,6}`)
	draw := func(t *rapid.T, label string) string {
		text := rapid.SampledFrom([]string{"", "-"}).Draw(t, label+" sign")
		if whole := strings.TrimLeft(digits.Draw(t, label+" whole"), "0"); whole != "" {
			text += whole
		} else {
			text += "0"
		}
		if rapid.Bool().Draw(t, label+" with fraction") {
			text += "." + digits.Draw(t, label+" fraction")
		}
		if rapid.Bool().Draw(t, label+" with exponent") {
			text += fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"e", "E+", "e-", "e00", "E-0"}).Draw(t, label+" e"), rapid.IntRange(0, 20).Draw(t, label+" exponent"))
		}
		return text
	}
	rapid.Check(t, func(t *rapid.T) {
		a := draw(t, "a")
		b := draw(t, "b")
		if rapid.Bool().Draw(t, "shift") { // the same value in other words
			r, _ := new(big.Rat).SetString(a)
			b = r.FloatString(40) + "e0"
		}
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if got, want := equalNumbers(a, b), x.Cmp(y) == 0; got != want {
			t.Fatalf("%s = %s: got %v", a, b, got)
		}
	})
}

func TestNumbersWithHugeExponents(t *testing.T) {
	nines := strings.Repeat("9", 18)
	zeros := strings.Repeat("0", 1_000_000)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1e999999999", "10e999999998", true},
		{"1e999999999", "1e999999998", false},
		{"1e1" + zeros[:18], "10e" + nines, true},
		{"100e" + nines, "1e1" + zeros[:17] + "1", true},
		{"1e-1" + zeros[:18], "0.1e-" + nines, true},
		{"0.001e-" + nines, "1e-1" + zeros[:17] + "2", true},
		{"1e1" + zeros, "10e" + strings.Repeat("9", len(zeros)), true},
		{"1e1" + zeros, "1e-1" + zeros, false},
		{"0e1" + zeros, "-0", true},
		{"1" + zeros, "1e1000000", true},
		{"0." + zeros + "1", "1e-1000001", true},
		{"1e+" + zeros + "5", "100000", true},
		{"1", "-1", false},
	} {
		if got := equalNumbers(c.a, c.b); got != c.want {
			t.Errorf("%.30s = %.30s: got %v", c.a, c.b, got)
		}
	}
}

func TestKeysAgreeWithEquality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := build([]byte(drawValue(t, 3))), build([]byte(drawValue(t, 3)))
		if got, want := bytes.Equal(a.appendKey(nil), b.appendKey(nil)), equal(a, b); got != want {
			t.Fatalf("%s, %s: same key %v, equal %v", a.appendText(nil), b.appendText(nil), got, want)
		}
	})
}
