package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Dump writes the state as lines, sorted: what two writings of the rules must agree on. Times are
// in microseconds.
func (m *Model) Dump() []string {
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, p := range m.Profiles {
		line("profile %s", p)
	}
	for _, i := range m.Identifiers {
		for n, s := range i.Spans {
			line("identifier %s %s %s %q span %d: %s from %d version %d", i.Tenant, i.Node, i.Kind, i.Value, n, s.Profile, micros(s.From), s.Version)
		}
	}
	for _, o := range m.Orders {
		line("order %s", o)
	}
	for _, p := range m.Products {
		line("product %+v", *p)
	}
	for n, x := range m.Merges {
		line("merge %04d %s %s %s into %s by %q: %s, %s; identifiers %s orders %q", n, x.Tenant, x.Kind, x.Loser, x.Winner, x.Cause,
			&x.WinnerBefore, &x.LoserBefore, x.Identifiers, x.Orders)
	}
	for n, c := range m.Conflicts {
		line("conflict %04d %+v", n, c)
	}
	for _, c := range m.Lineage {
		line("lineage %s %s %06d %s %s: %s to %s by %s %q at %d", c.Tenant, c.Profile, c.Version, c.Path, c.Op,
			Text(c.Old), Text(c.New), c.Kind, c.Cause, micros(c.At))
	}
	slices.Sort(lines)
	return lines
}

// String is the profile on one line.
func (p *Profile) String() string {
	return fmt.Sprintf("%s %s %s %s seen %d to %d, events %d track %d page %d identify %d, attributes at %d version %d created %d into %s",
		p.Tenant, p.ID, p.Kind, Text(p.Attributes), micros(p.FirstSeen), micros(p.LastSeen),
		p.EventCount, p.TrackCount, p.PageCount, p.IdentifyCount, micros(p.AttributesAt), p.Version, micros(p.CreatedAt), p.MergedInto)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Diff tells where two models differ: lines only a has ("-") and only b has ("+"). Empty: nowhere.
func Diff(a, b *Model) string {
	count := map[string]int{}
	for _, l := range a.Dump() {
		count[l]--
	}
	for _, l := range b.Dump() {
		count[l]++
	}
	var out strings.Builder
	for _, l := range slices.Sorted(maps.Keys(count)) {
		switch n := count[l]; {
		case n < 0:
			out.WriteString("- " + l + "\n")
		case n > 0:
			out.WriteString("+ " + l + "\n")
		}
	}
	return out.String()
}
