package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/store"
)

// textList bounds what the readable form lists of one merge; --json has all.
const textList = 10

// writeExplanation is the readable form. Values are quoted: what clients sent does not reach the
// terminal as it is.
func writeExplanation(w io.Writer, x *explanation) error {
	var b strings.Builder
	p := x.Profile
	if x.Asked != nil {
		fmt.Fprintf(&b, "profile %s was merged; this is what it went into\n\n", x.Asked.ProfileID)
	}
	fmt.Fprintf(&b, "profile    %s, %s, version %d\n", p.ProfileID, describeKind(p.Kind), p.Version)
	fmt.Fprintf(&b, "created    %s by %s\n", moment(p.CreatedAt), describeCreator(x))
	fmt.Fprintf(&b, "seen       %s to %s\n", moment(p.FirstSeen), moment(p.LastSeen))
	fmt.Fprintf(&b, "events     %d (%d identify, %d track, %d page)\n", p.EventCount, p.IdentifyCount, p.TrackCount, p.PageCount)
	fmt.Fprintf(&b, "attributes %s\n", p.Attributes)

	fmt.Fprintf(&b, "\nidentifiers\n")
	for _, i := range x.Identifiers {
		since, over := "since ever", ""
		if i.ValidFrom != nil {
			since = "since " + moment(*i.ValidFrom)
		}
		if !i.Current {
			over = ", until it was relinked"
		}
		fmt.Fprintf(&b, "  %s %q, %s%s\n", i.Kind, i.Value, since, over)
	}
	if len(x.Merges) > 0 {
		fmt.Fprintf(&b, "\nmerges\n")
	}
	for i := range x.Merges {
		writeMerge(&b, &x.Merges[i], p.ProfileID)
	}
	writeConflicts(&b, x.Conflicts, p.ProfileID)
	if x.Path == "" {
		fmt.Fprintf(&b, "\nwhy the attributes are what they are: the newest change of each\n")
	} else {
		fmt.Fprintf(&b, "\nwhat happened to %q, oldest first\n", x.Path)
	}
	if len(x.Lineage) == 0 {
		fmt.Fprintf(&b, "  nothing\n")
	}
	writeLineage(&b, x.Lineage, "  ")
	_, err := io.WriteString(w, b.String())
	return err
}

func describeKind(kind string) string {
	if kind == "shadow" {
		return "a shadow (known by devices only)"
	}
	return "an anchor (has a verified identifier)"
}

func describeCreator(x *explanation) string {
	i := x.CreatedBy
	switch {
	case i == nil:
		return "an identifier that is not there any more"
	case i.ProfileID != x.Profile.ProfileID:
		return fmt.Sprintf("%s %q, which belongs to profile %s now", i.Kind, i.Value, i.ProfileID)
	}
	return fmt.Sprintf("%s %q", i.Kind, i.Value)
}

func writeMerge(b *strings.Builder, m *store.MergeRow, live uuid.UUID) {
	into := "into this one"
	if m.WinnerID != live {
		into = "into " + m.WinnerID.String()
	}
	fmt.Fprintf(b, "  %s %s of %s (%s, %d events) %s\n", moment(m.MergedAt), m.Kind, m.LoserID, m.Loser.Kind, m.Loser.EventCount, into)
	fmt.Fprintf(b, "      merge %s, because of message %q\n", m.MergeID, m.Cause)
	for n, i := range m.MovedIdentifiers {
		if n == textList {
			fmt.Fprintf(b, "      and %d identifiers more\n", len(m.MovedIdentifiers)-n)
			break
		}
		fmt.Fprintf(b, "      moved %s %q\n", i.Kind, i.Value)
	}
	for n, id := range m.MovedOrders {
		if n == textList {
			fmt.Fprintf(b, "      and %d orders more\n", len(m.MovedOrders)-n)
			break
		}
		fmt.Fprintf(b, "      moved order %q\n", id)
	}
	if m.UndoneAt != nil {
		fmt.Fprintf(b, "      taken back %s\n", moment(*m.UndoneAt))
	}
}

func writeLineage(b *strings.Builder, changes []explained, indent string) {
	for i := range changes {
		c := &changes[i]
		fmt.Fprintf(b, "%s%s %q: %s → %s\n", indent, c.Op, c.Path, orAbsent(c.Old), orAbsent(c.New))
		fmt.Fprintf(b, "%s    %s\n", indent, c.Rule)
		switch c.CauseKind {
		case "unmerge":
			fmt.Fprintf(b, "%s    unmerge of %s at %s\n", indent, c.Cause, moment(c.EventTime))
		default:
			fmt.Fprintf(b, "%s    %s by message %q, event time %s\n", indent, c.CauseKind, c.Cause, moment(c.EventTime))
		}
		if c.From != nil {
			fmt.Fprintf(b, "%s    from profile %s\n", indent, c.From)
			writeLineage(b, c.Before, indent+"        ")
		}
	}
}

func orAbsent(value []byte) string {
	if value == nil {
		return "absent"
	}
	return string(value)
}

func moment(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000") }
