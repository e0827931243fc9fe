package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
)

type explainCmd struct {
	target
	personFlags
	Tenant string `required:"" help:"Slug or id." placeholder:"TENANT"`
	Path   string `help:"Tell all that ever happened to this attribute, an RFC 6901 pointer; the newest change of each where absent." placeholder:"/city"`
	JSON   bool   `name:"json" help:"Print one JSON object."`
}

// Help is shown below the usage.
func (explainCmd) Help() string {
	return `Who made the profile and when, which profiles went into it and because of which messages, what it is
called, what events stated of it and was refused, and why each attribute is what it is: by which event or
merge, and by which rule. The id of a profile that was merged leads to the live one.

Examples:
  keystone explain --tenant demo --who email:ann@example.com
  keystone explain --tenant demo --who anonymous:device-1 --path /address/city
  keystone explain --tenant demo --profile 5d1c8a4e-0b7f-5c3e-9a61-2f4b8d7e6c50 --json | jq .merges`
}

// explanation is what the command tells.
type explanation struct {
	Profile     *store.ProfileRow     `json:"profile"`
	Asked       *store.ProfileRow     `json:"asked,omitempty"`      // a tombstone that led here
	CreatedBy   *store.IdentifierRow  `json:"created_by,omitempty"` // its profile_id: who owns it now
	Identifiers []store.IdentifierRow `json:"identifiers"`          // closed spans included
	Merges      []store.MergeRow      `json:"merges"`               // those taken back included
	Conflicts   []store.ConflictRow   `json:"conflicts"`            // the newest, oldest first
	Path        string                `json:"path,omitempty"`
	Lineage     []explained           `json:"lineage"` // of the path, oldest first; without one the newest of each, by path
}

// explained is one change with the rule that made it.
type explained struct {
	event.AttributeChange
	Rule string `json:"rule"`
	// From is the profile that a merge brought it from, and Before that one's own history of it.
	From   *uuid.UUID  `json:"from,omitempty"`
	Before []explained `json:"before,omitempty"`
}

// Run explains one profile.
func (c *explainCmd) Run(a *app) error {
	if c.Path != "" && !strings.HasPrefix(c.Path, "/") {
		return errors.New("a path starts with a slash: --path /city")
	}
	if err := c.check(); err != nil {
		return err
	}
	return c.withStore(a, func(plane *control.Plane, reader *store.Store) error {
		tenant, err := plane.Tenant(a.ctx, c.Tenant)
		if err != nil {
			return err
		}
		profile, asked, err := c.find(a, reader, &tenant)
		if errors.Is(err, store.ErrUnknownProfile) {
			return whyNobody(a, reader, tenant.ID, asked, err)
		}
		if err != nil {
			return err
		}
		return c.explain(a, reader, tenant.ID, profile)
	})
}

func (c *explainCmd) explain(a *app, reader *store.Store, tenant, profile uuid.UUID) error {
	known, err := reader.Explain(a.ctx, tenant, profile)
	if err != nil {
		return err
	}
	x := explanation{Profile: known.Profile, Asked: known.Asked, CreatedBy: known.CreatedBy, Identifiers: known.Spans,
		Merges: known.Merges, Path: c.Path}
	if x.Conflicts, err = conflictsOf(a, reader, tenant, &known); err != nil {
		return err
	}
	h := historian{app: a, reader: reader, tenant: tenant, merges: known.Merges}
	if c.Path != "" {
		x.Lineage, err = h.path(c.Path, x.Profile.ProfileID, x.Profile.Version, 0)
	} else {
		x.Lineage, err = h.newest(x.Profile.ProfileID)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(a, &x)
	}
	return writeExplanation(a.stdout, &x)
}

// historian reads lineage and says why.
type historian struct {
	*app
	reader *store.Store
	tenant uuid.UUID
	merges []store.MergeRow
}

// maxDepthOfMerges bounds how far back a value is followed through profiles that went into others.
const maxDepthOfMerges = 16

// path is what happened to a path of a profile up to a version, oldest first; what a merge brought
// with the history it had where it came from.
func (h *historian) path(path string, profile uuid.UUID, upTo int64, depth int) ([]explained, error) {
	all := []explained{}
	var rule rules
	for c, err := range h.reader.LineageOf(h.ctx, h.tenant, profile) {
		if err != nil {
			return nil, err
		}
		text := rule.of(&c)
		if c.Version > upTo || !related(c.Path, path) {
			continue
		}
		x := explained{AttributeChange: c, Rule: text}
		if m := h.merge(profile, &c); m != nil {
			x.From = &m.LoserID
			if depth < maxDepthOfMerges {
				if x.Before, err = h.path(path, m.LoserID, m.Loser.Version, depth+1); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, x)
	}
	return all, nil
}

// newest is the newest change of each path of a profile, by path.
func (h *historian) newest(profile uuid.UUID) ([]explained, error) {
	last := map[string]explained{}
	var rule rules
	for c, err := range h.reader.LineageOf(h.ctx, h.tenant, profile) {
		if err != nil {
			return nil, err
		}
		x := explained{AttributeChange: c, Rule: rule.of(&c)}
		if m := h.merge(profile, &c); m != nil {
			x.From = &m.LoserID
		}
		last[c.Path] = x
	}
	all := make([]explained, 0, len(last))
	for _, path := range slices.Sorted(maps.Keys(last)) {
		all = append(all, last[path])
	}
	return all, nil
}

// merge is the one that made a change, or nil.
func (h *historian) merge(profile uuid.UUID, c *event.AttributeChange) *event.Merge {
	if c.CauseKind != "merge" {
		return nil
	}
	for i := range h.merges {
		if m := &h.merges[i].Merge; m.WinnerID == profile && m.Winner.Version+1 == c.Version && m.Cause == c.Cause {
			return m
		}
	}
	return nil
}

// related tells whether a change concerns a path: it is of that path, of a member, or of an object
// around it.
func related(changed, path string) bool {
	return changed == path || strings.HasPrefix(changed, path+"/") || strings.HasPrefix(path, changed+"/")
}

// rules puts the rule of a change into words. It is told all changes of a profile, oldest first: an
// event older than one before it was late.
type rules struct{ latest time.Time }

func (r *rules) of(c *event.AttributeChange) string {
	if c.CauseKind != "event" {
		return ruleOfMerge(c)
	}
	late := c.EventTime.Before(r.latest)
	if !late {
		r.latest = c.EventTime
	}
	text := map[string]string{
		"add":     "it was absent: added",
		"update":  "another value: it replaces the one before",
		"replace": "a list met a list: the new one replaces",
		"union":   "a list met a string: united",
		"append":  "a string met a list: appended",
		"remove":  "$unset named it: removed",
	}[c.Op]
	if late && (c.Op == "add" || c.Op == "union" || c.Op == "append") {
		text += "; the event is older than a change before, and a late event only fills"
	}
	return text
}

func ruleOfMerge(c *event.AttributeChange) string {
	switch {
	case c.CauseKind == "unmerge" && c.Op == "remove":
		return "the merge that brought it was taken back"
	case c.CauseKind == "unmerge" && c.Op == "add":
		return "the merge that took the profile away was taken back: it has it again"
	case c.CauseKind == "unmerge":
		return "the merge that added to it was taken back"
	case c.Op == "add":
		return "the profile that was merged had it, this one lacked it"
	}
	return "the profile that was merged had it too, and a list and a string are united"
}
