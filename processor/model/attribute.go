package model

import (
	"maps"
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Limits of attributes (spec 2.6), and of the pointers in one event's lineage.
const (
	maxDepth     = 32
	maxLeaves    = 2000
	maxBytes     = 256 << 10
	maxPathBytes = 1 << 20
)

// attributes merges what the event says about p (spec 2.6).
func (m *Model) attributes(p *Profile) {
	e := m.event
	var payload map[string]any
	switch e.Type {
	case event.Identify:
		payload = object(e.Payload)
	case event.Group:
		account := object(e.Payload)
		if account == nil {
			account = map[string]any{}
		}
		payload = map[string]any{"groups": map[string]any{text(e.GroupID): account}}
	}
	late := !p.AttributesAt.IsZero() && e.At.Before(p.AttributesAt)

	next := clone(p.Attributes).(map[string]any)
	if paths, ok := payload["$unset"]; ok {
		if list, ok := paths.([]any); ok && !late {
			unset(next, list)
		}
		payload = maps.Clone(payload)
		delete(payload, "$unset")
	}
	next = merge(next, payload, late).(map[string]any)
	next = merge(next, object(e.Traits), late).(map[string]any)

	if !m.become(p, next, "event") {
		return
	}
	if e.Type == event.Identify && e.At.After(p.AttributesAt) {
		p.AttributesAt = e.At
	}
}

// absorb puts the winner's attributes over the loser's.
func (m *Model) absorb(winner, loser *Profile) {
	next := merge(clone(loser.Attributes), winner.Attributes, false).(map[string]any)
	if !m.become(winner, next, "merge") {
		m.conflicts[len(m.conflicts)-1].Other = loser.ID
	}
}

// become moves p on to other attributes and writes the lineage, unless they are too much.
func (m *Model) become(p *Profile, next map[string]any, kind string) bool {
	if Equal(p.Attributes, next) {
		return true
	}
	var changes []Change
	diff("", p.Attributes, next, &changes)
	paths := 0
	for _, c := range changes {
		paths += len(c.Path)
	}
	if exceeds(p.Attributes, next, depth, maxDepth) || exceeds(p.Attributes, next, leaves, maxLeaves) ||
		exceeds(p.Attributes, next, size, maxBytes) || paths > maxPathBytes {
		m.conflicts = append(m.conflicts, Conflict{Tenant: p.Tenant, MessageID: m.event.MessageID, Reason: "attribute_limit"})
		return false
	}
	for _, c := range changes {
		c.Tenant, c.Profile, c.Version = p.Tenant, p.ID, p.Version
		c.Cause, c.Kind, c.At = m.event.MessageID, kind, m.event.At
		m.Lineage = append(m.Lineage, c)
	}
	p.Attributes = keepOld(p.Attributes, next).(map[string]any)
	return true
}

func exceeds(old, next any, measure func(any) int, most int) bool {
	return measure(next) > most && measure(next) > measure(old)
}

// merge is old ⊕ next.
func merge(old, next any, late bool) any {
	switch o := old.(type) {
	case map[string]any:
		if n, ok := next.(map[string]any); ok {
			for k, v := range n {
				if was, ok := o[k]; ok {
					o[k] = merge(was, v, late)
				} else {
					o[k] = clone(v)
				}
			}
			return o
		}
	case string:
		if n, ok := next.([]any); ok {
			union := []any{o}
			for _, v := range n {
				if !contains(union, v) {
					union = append(union, v)
				}
			}
			return union
		}
	case []any:
		if n, ok := next.(string); ok {
			if contains(o, n) {
				return o
			}
			return append(slices.Clone(o), n)
		}
	}
	if late || Equal(old, next) {
		return old
	}
	return clone(next)
}

func contains(list []any, v any) bool {
	return slices.ContainsFunc(list, func(x any) bool { return Equal(x, v) })
}

// unset removes what the paths name: names joined by dots, or a pointer. What is left of a path may
// be one name at every level, for names may hold dots.
func unset(root map[string]any, paths []any) {
	type place struct {
		in   map[string]any
		name string
	}
	var gone []place
	mark := func(names []string, separator string, whole bool) {
		at := root
		for n, name := range names {
			if rest := strings.Join(names[n:], separator); whole {
				gone = append(gone, place{at, rest})
			}
			if n == len(names)-1 {
				gone = append(gone, place{at, name})
			}
			below, ok := at[name].(map[string]any)
			if !ok {
				break
			}
			at = below
		}
	}
	for _, p := range paths {
		path, ok := p.(string)
		if !ok {
			continue
		}
		mark(strings.Split(path, "."), ".", true)
		if pointer, ok := strings.CutPrefix(path, "/"); ok {
			names := strings.Split(pointer, "/")
			for n := range names {
				names[n] = strings.NewReplacer("~1", "/", "~0", "~").Replace(names[n])
			}
			mark(names, "/", false)
		}
	}
	for _, p := range gone {
		delete(p.in, p.name)
	}
}

// diff lists the leaves that differ. Of ops it tells add and remove; how exactly one value became
// another is in the values.
func diff(path string, old, next any, to *[]Change) {
	o, oldObject := old.(map[string]any)
	n, nextObject := next.(map[string]any)
	switch {
	case old == Absent && nextObject && len(n) > 0, oldObject && nextObject:
		names := map[string]bool{}
		for k := range o {
			names[k] = true
		}
		for k := range n {
			names[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(names)) {
			a, b := any(Absent), any(Absent)
			if v, ok := o[k]; ok {
				a = v
			}
			if v, ok := n[k]; ok {
				b = v
			}
			diff(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), a, b, to)
		}
	case old == Absent:
		*to = append(*to, Change{Path: path, Op: "add", Old: old, New: clone(next)})
	case next == Absent:
		*to = append(*to, Change{Path: path, Op: "remove", Old: clone(old), New: next})
	case !Equal(old, next):
		*to = append(*to, Change{Path: path, Op: "change", Old: clone(old), New: clone(next)})
	}
}

// keepOld is next with old's own values where they are equal, so that 1 does not become 1.0.
func keepOld(old, next any) any {
	if Equal(old, next) {
		return old
	}
	o, ok := old.(map[string]any)
	if n, both := next.(map[string]any); ok && both {
		for k := range n {
			if was, ok := o[k]; ok {
				n[k] = keepOld(was, n[k])
			}
		}
	}
	return next
}

func depth(v any) int {
	most := 0
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			most = max(most, depth(x))
		}
	case []any:
		for _, x := range v {
			most = max(most, depth(x))
		}
	default:
		return 0
	}
	return most + 1
}

func leaves(v any) int {
	o, ok := v.(map[string]any)
	if !ok || len(o) == 0 {
		return 1
	}
	n := 0
	for _, x := range o {
		n += leaves(x)
	}
	return n
}
