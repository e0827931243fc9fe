package apply

import (
	"errors"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// What an attribute change was caused by.
const (
	causeEvent = "event"
	causeMerge = "merge"
)

// attributes merges what the event says about its profile (spec 2.6).
func (f *fold) attributes(p *identity.Profile) {
	e := f.event
	patch := attribute.Patch{Traits: e.Traits}
	switch e.Type {
	case event.Identify:
		patch.Payload = e.Payload
	case event.Group:
		patch.Payload = groupPatch(e)
	}
	if patch.Payload != nil || patch.Traits != nil {
		patch.Late = e.At.Before(p.AttributesAt) // never, as long as that is zero
		changes, err := p.Attributes.Apply(patch, f.limits)
		if refused(err) {
			f.graph.Refuse(identity.AttributeLimit, nil, "", p, nil)
			return // not accepted: attributes_at stays
		}
		f.lineage(p, changes, causeEvent)
	}
	if e.Type == event.Identify && e.At.After(p.AttributesAt) {
		p.AttributesAt = e.At
	}
}

// refused tells a limit from success. There is no other error: what an event says is valid JSON.
func refused(err error) bool {
	if err != nil && !errors.Is(err, attribute.ErrLimit) {
		panic("apply: an event that was not validated: " + err.Error())
	}
	return err != nil
}

// groupPatch puts a group's traits under its id: {"groups":{"<id>":{…}}}.
func groupPatch(e *Event) []byte {
	id, err := json.MarshalWithOption(e.GroupID, json.DisableHTMLEscape())
	if err != nil {
		panic("apply: a string has no JSON form: " + err.Error())
	}
	traits := e.Payload
	if traits == nil {
		traits = []byte("{}")
	}
	patch := make([]byte, 0, len(`{"groups":{:}}`)+len(id)+len(traits))
	patch = append(patch, `{"groups":{`...)
	patch = append(patch, id...)
	patch = append(patch, ':')
	patch = append(patch, traits...)
	return append(patch, "}}"...)
}

// lineage records changes as those of the profile's present version.
func (f *fold) lineage(p *identity.Profile, changes []attribute.Change, kind string) {
	if len(changes) == 0 {
		return
	}
	l := Lineage{Tenant: p.Tenant, ProfileID: p.ID, Version: p.Version, Changes: make([]event.AttributeChange, len(changes))}
	for i, c := range changes {
		l.Changes[i] = event.AttributeChange{
			Version: p.Version, Index: i, Path: c.Path, Op: string(c.Op), Old: c.Old, New: c.New,
			Cause: f.event.MessageID, CauseKind: kind, EventTime: f.event.At, ProcessedAt: f.processedAt,
		}
	}
	f.result.Lineage = append(f.result.Lineage, l)
}
