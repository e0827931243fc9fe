package applytest

import (
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-json"
)

// Diff tells where two stores differ, to the byte: rows only s has ("-") and only o has ("+").
func (s *Store) Diff(o *Store) string {
	count := map[string]int{}
	for _, l := range s.dump() {
		count[l]--
	}
	for _, l := range o.dump() {
		count[l]++
	}
	var b strings.Builder
	for _, l := range slices.Sorted(maps.Keys(count)) {
		switch n := count[l]; {
		case n < 0:
			b.WriteString("- " + l + "\n")
		case n > 0:
			b.WriteString("+ " + l + "\n")
		}
	}
	return b.String()
}

// dump writes every row, and occurrences in their order.
func (s *Store) dump() []string {
	var lines []string
	line := func(parts ...any) {
		b, err := json.Marshal(parts)
		if err != nil {
			panic(err)
		}
		lines = append(lines, string(b))
	}
	for id, p := range s.Profiles {
		line("profile", p.Tenant, id, p.State(), p.Owned, p.Spans, p.Orders)
	}
	for _, i := range s.Identifiers {
		line("identifier", i.Tenant, i.State())
	}
	for _, x := range s.Spans {
		line("span", x.Tenant, x.State())
	}
	for key, o := range s.Orders {
		line("order", key, o)
	}
	for key, p := range s.Products {
		line("product", key, p)
	}
	for n, m := range s.Merges {
		line("merge", n, m.Tenant, m.Merge)
	}
	for n, c := range s.Conflicts {
		line("conflict", n, c)
	}
	for n, l := range s.Lineage {
		line("lineage", n, l)
	}
	for lane, at := range s.created {
		line("created", lane, at)
	}
	return lines
}
