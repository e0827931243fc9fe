package main

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/store"
)

// maxConflicts bounds what is read: at a limit, every further event of a device that everybody uses is refused something.
const maxConflicts = 1000

// conflictsOf are what was refused of a profile, of those that went into it, and of what it is called now.
func conflictsOf(a *app, reader *store.Store, tenant uuid.UUID, known *store.Explained) ([]store.ConflictRow, error) {
	profiles, nodes := []uuid.UUID{known.Profile.ProfileID}, []uuid.UUID{}
	for i := range known.Merges {
		if m := &known.Merges[i]; m.UndoneAt == nil {
			profiles = append(profiles, m.LoserID)
		}
	}
	for i := range known.Spans {
		if known.Spans[i].Current {
			nodes = append(nodes, known.Spans[i].Node)
		}
	}
	return reader.ConflictsOf(a.ctx, tenant, profiles, nodes, maxConflicts)
}

// whyNobody is the error where an identifier is nobody's, with what kept it from being somebody's.
func whyNobody(a *app, reader *store.Store, tenant, node uuid.UUID, unknown error) error {
	refused, err := reader.ConflictsOf(a.ctx, tenant, nil, []uuid.UUID{node}, 1)
	if err != nil {
		return err
	}
	if len(refused) == 0 {
		return unknown
	}
	c := &refused[0]
	return fmt.Errorf("%w: %s (%s, by message %q, which counts for profile %s)", unknown, ruleOfConflict(c), c.Reason, c.MessageID, c.ProfileID)
}

func writeConflicts(b *strings.Builder, conflicts []store.ConflictRow, live uuid.UUID) {
	if len(conflicts) == 0 {
		return
	}
	fmt.Fprintf(b, "\nrefused\n")
	if before := len(conflicts) - textList; before > 0 {
		more := ""
		if len(conflicts) == maxConflicts {
			more = "at least "
		}
		fmt.Fprintf(b, "  %s%d before these\n", more, before)
		conflicts = conflicts[before:]
	}
	for i := range conflicts {
		c, whose := &conflicts[i], ""
		if c.ProfileID != live {
			whose = ", which counts for profile " + c.ProfileID.String()
		}
		fmt.Fprintf(b, "  %s %s: %s\n", moment(c.ReceivedAt), c.Reason, ruleOfConflict(c))
		fmt.Fprintf(b, "      by message %q, event time %s%s\n", c.MessageID, moment(c.EventTime), whose)
	}
}

// ruleOfConflict puts into words what was refused, and by which rule.
func ruleOfConflict(c *store.ConflictRow) string {
	named := fmt.Sprintf("%s %q", c.Kind, c.Value)
	other := "a profile that was erased" // since then
	if c.Other != nil {
		other = "profile " + c.Other.String()
	}
	switch identity.Reason(c.Reason) {
	case identity.LinkLimit:
		return fmt.Sprintf("%s was not linked, and the profile has as many of kind %s as it may", named, c.LimitKind)
	case identity.RelinkLimit:
		return fmt.Sprintf("%s stays with %s, and the profile has as many of kind %s as it may", named, other, c.LimitKind)
	case identity.MergeLimit:
		return fmt.Sprintf("%s is called %s and was not merged: together they have more of kind %s than one may", other, named, c.LimitKind)
	case identity.CollapseLimit:
		return fmt.Sprintf("%s is called %s and was not collapsed: together they have more of kind %s than one may", other, named, c.LimitKind)
	case identity.AttributeLimit:
		if c.Other != nil {
			return "the attributes of " + other + " were not merged: the profile would have more than it may"
		}
		return "the event's attributes were not taken: the profile would have more than it may"
	}
	return "a rule of another version of keystone"
}
