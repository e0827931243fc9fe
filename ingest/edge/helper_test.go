package edge

import (
	"net/netip"
	"testing"
)

func prefixes(t testing.TB, list ...string) (out []netip.Prefix) {
	t.Helper()
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}
