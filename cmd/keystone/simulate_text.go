package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/simulate"
)

// writeSimulation is the readable form. Values are quoted: what clients sent does not reach the
// terminal as it is.
func writeSimulation(w io.Writer, r *simulate.Report, tenant string, limit int) error {
	var b strings.Builder
	writeReading(&b, r, tenant)
	writeRules(&b, r)
	writeTotals(&b, r)
	writeTally(&b, r)
	if n := len(r.Differences); n > 0 {
		fmt.Fprintf(&b, "\n%s\n", heading("differences", n, limit))
	}
	for i := range r.Differences[:min(limit, len(r.Differences))] {
		writeDifference(&b, &r.Differences[i])
	}
	if n := len(r.Comparison.Conflicts); n > 0 {
		fmt.Fprintf(&b, "\n%s\n", heading("conflicts that go away (-) or appear (+)", n, limit))
	}
	for _, c := range r.Comparison.Conflicts[:min(limit, len(r.Comparison.Conflicts))] {
		writeConflictChange(&b, c)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func heading(what string, n, limit int) string {
	if n > limit {
		return fmt.Sprintf("%s: the first %d of %d; --limit and --json show more", what, limit, n)
	}
	return what
}

func writeReading(b *strings.Builder, r *simulate.Report, tenant string) {
	read := &r.Reading
	fmt.Fprintf(b, "events     %d of tenant %s, each once; %d came again; %d records read of all tenants\n", read.Events, tenant, read.Repeated, read.Records)
	if read.First != nil {
		fmt.Fprintf(b, "received   %s to %s\n", moment(*read.First), moment(*read.Last))
	}
	switch {
	case r.History && r.From == nil:
		fmt.Fprintf(b, "start      %d of the events are from before %s: both sides read them under the current settings\n", read.Events-read.InWindow, moment(*r.Since))
	case r.History:
		fmt.Fprintf(b, "start      %d of the events are from before %s: both sides read them under the current settings;\n", read.Events-read.InWindow, moment(*r.Since))
		fmt.Fprintf(b, "           identities formed before %s are not known to this run\n", moment(*r.From))
	case r.Since != nil:
		fmt.Fprintf(b, "start      both sides from nothing: identities formed before %s are not known to this run\n", moment(*r.Since))
	default:
		fmt.Fprintf(b, "start      both sides from nothing, with the whole log\n")
	}
	if read.Shortened > 0 {
		fmt.Fprintf(b, "note       %d partitions of the log begin later than asked for: what is older is not kept\n", read.Shortened)
	}
	if read.Unreadable > 0 {
		fmt.Fprintf(b, "note       %d records are nobody's: their headers say nothing usable\n", read.Unreadable)
	}
	if read.Truncated {
		fmt.Fprintf(b, "NOTE       --max-events was reached: what was received after %s was NOT looked at\n", moment(*read.Last))
	}
}

// writeRules tells which settings would change.
func writeRules(b *strings.Builder, r *simulate.Report) {
	const head, more = "settings   ", "           "
	lead := head
	for _, x := range settingsChanges(&r.CurrentSettings, &r.NewSettings) {
		fmt.Fprintf(b, "%s%s\n", lead, x)
		lead = more
	}
	if lead == head {
		fmt.Fprintf(b, "%sthe new ones are the current ones\n", lead)
	}
}

func settingsChanges(a, b *event.Settings) (all []string) {
	change := func(name string, from, to any) {
		if x, y := fmt.Sprint(from), fmt.Sprint(to); x != y {
			all = append(all, fmt.Sprintf("%s %s -> %s", name, x, y))
		}
	}
	change("default_region", a.DefaultRegion, b.DefaultRegion)
	change("promote_traits", a.PromoteTraits, b.PromoteTraits)
	change("kinds", a.Kinds, b.Kinds)
	kinds := slices.Concat([]string{event.KindAnonymous, event.KindCRM, event.KindEmail, event.KindPhone}, a.Kinds, b.Kinds)
	for n, k := range kinds {
		if !slices.Contains(kinds[:n], k) {
			change("limits."+k, a.Limit(k), b.Limit(k))
		}
	}
	return all
}

func writeTotals(b *strings.Builder, r *simulate.Report) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\tcurrent\tnew\t\n")
	row := func(name string, current, proposed int) {
		fmt.Fprintf(w, "%-28s\t%d\t%d\t\n", name, current, proposed)
	}
	row("profiles", r.Current.Profiles, r.New.Profiles)
	row("  anchors", r.Current.Anchors, r.New.Anchors)
	row("  shadows", r.Current.Shadows, r.New.Shadows)
	row("identifiers with an owner", r.Current.Identifiers, r.New.Identifiers)
	row("collapses and merges", r.Current.Merges, r.New.Merges)
	row("relinks of devices", r.Current.Relinks, r.New.Relinks)
	row("records that name nobody", r.Current.NamesNobody, r.New.NamesNobody)
	if r.Current.Invalid > 0 {
		row("records that are no events", r.Current.Invalid, r.New.Invalid)
	}
	for _, reason := range identity.Reasons {
		row("conflicts: "+string(reason), r.Current.Conflicts[reason], r.New.Conflicts[reason])
	}
	w.Flush() //nolint:errcheck // into memory
}

// meanings of the kinds of differences, in the summary.
var meanings = map[simulate.Kind]string{
	simulate.Merged:    "several profiles would be one",
	simulate.Split:     "one profile would be several",
	simulate.Regrouped: "several would be divided otherwise",
	simulate.Changed:   "one would have other identifiers",
	simulate.Appears:   "nobody knows its identifiers now",
	simulate.Vanishes:  "nobody would know its identifiers",
}

func writeTally(b *strings.Builder, r *simulate.Report) {
	if r.Same() {
		fmt.Fprintf(b, "\nno difference: the same profiles, the same conflicts\n")
		return
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\ndifferences\t\tprofiles\twould be\n")
	for _, k := range simulate.Kinds {
		t := r.Tally[k]
		fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%s\n", k, t.Differences, t.Current, t.New, meanings[k])
	}
	w.Flush() //nolint:errcheck // into memory
	total := func(m map[identity.Reason]int) (n int) {
		for _, x := range m {
			n += x
		}
		return n
	}
	fmt.Fprintf(b, "conflicts that go away: %d, that appear: %d\n", total(r.ConflictsGo), total(r.ConflictsAppear))
}

func writeDifference(b *strings.Builder, d *simulate.Difference) {
	fmt.Fprintf(b, "%s\n", d.Kind)
	writeProfiles(b, "now", d.Current)
	writeProfiles(b, "new", d.New)
	writeCauses(b, "joined under the current settings by", "the new ones refuse it", d.CurrentJoins)
	writeCauses(b, "joined under the new settings by", "the current ones refuse it", d.NewJoins)
}

// writeProfiles lists no more of anything than textList.
func writeProfiles(b *strings.Builder, side string, profiles []simulate.Profile) {
	for n, p := range profiles {
		if n == textList {
			fmt.Fprintf(b, "  %s  and %d more\n", side, len(profiles)-n)
			break
		}
		var ids []string
		for _, i := range p.Identifiers[:min(textList, len(p.Identifiers))] {
			ids = append(ids, fmt.Sprintf("%s %q", i.Kind, i.Value))
		}
		if more := len(p.Identifiers) - len(ids); more > 0 {
			ids = append(ids, fmt.Sprintf("and %d more", more))
		}
		fmt.Fprintf(b, "  %s  %s (%s)\n", side, strings.Join(ids, ", "), plural(p.Events, "event"))
	}
}

func writeCauses(b *strings.Builder, by, why string, causes []simulate.Cause) {
	for n, c := range causes {
		if n == textList {
			fmt.Fprintf(b, "       and %d more messages\n", len(causes)-n)
			break
		}
		fmt.Fprintf(b, "       %s message %q", by, c.MessageID)
		for i, r := range c.Refused {
			lead := ", "
			if i == 0 {
				lead = "; " + why + ": "
			}
			fmt.Fprintf(b, "%s%s", lead, limitReason(r.Reason, r.LimitKind))
		}
		fmt.Fprintln(b)
	}
}

func writeConflictChange(b *strings.Builder, c simulate.ConflictChange) {
	sign := "-"
	if c.Appears {
		sign = "+"
	}
	fmt.Fprintf(b, "  %s %s by message %q", sign, limitReason(c.Reason, c.LimitKind), c.MessageID)
	if c.Kind != "" {
		fmt.Fprintf(b, ": %s %q", c.Kind, c.Value)
	}
	fmt.Fprintln(b)
}

func limitReason(reason identity.Reason, kind string) string {
	if kind == "" {
		return string(reason)
	}
	return fmt.Sprintf("%s of %s", reason, kind)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
