package attribute

import (
	"slices"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// merger is old ⊕ new of spec 2.6. A result that equals old is old itself.
type merger struct {
	late bool // only add, union and append
}

func (m *merger) merge(old, next *node) *node {
	switch {
	case old.kind == jsonscan.Object && next.kind == jsonscan.Object:
		return m.objects(old, next)
	case old.kind == jsonscan.String && next.kind == jsonscan.Array:
		return union(old, next)
	case old.kind == jsonscan.Array && next.kind == jsonscan.String:
		return appendString(old, next)
	case m.late || equal(old, next):
		return old
	}
	return next
}

func (m *merger) objects(old, next *node) *node {
	var kids []kid // nil as long as nothing has changed
	done := 0      // kids of old taken care of
	for _, k := range next.kids {
		i, found := find(old.kids[done:], k.name)
		i += done
		if found {
			merged := m.merge(old.kids[i].node, k.node)
			if merged == old.kids[i].node {
				continue
			}
			k.node = merged
		}
		if kids == nil {
			kids = make([]kid, 0, len(old.kids)+len(next.kids))
		}
		kids = append(append(kids, old.kids[done:i]...), k)
		done = i
		if found {
			done++
		}
	}
	if kids == nil {
		return old
	}
	return container(jsonscan.Object, append(kids, old.kids[done:]...))
}

// union is the string, then the elements of the array, each value once.
func union(str, array *node) *node {
	kids := make([]kid, 0, 1+len(array.kids))
	seen := make(map[string]struct{}, 1+len(array.kids))
	var key []byte
	for _, k := range slices.Concat([]kid{{node: str}}, array.kids) {
		key = k.appendKey(key[:0])
		if _, ok := seen[string(key)]; !ok {
			seen[string(key)] = struct{}{}
			kids = append(kids, k)
		}
	}
	n := container(jsonscan.Array, kids)
	n.united = true
	return n
}

func appendString(array, str *node) *node {
	if contains(array, str) {
		return array
	}
	n := container(jsonscan.Array, append(slices.Clip(array.kids), kid{node: str}))
	n.united = true
	return n
}

func contains(array, value *node) bool {
	return slices.ContainsFunc(array.kids, func(k kid) bool { return equal(k.node, value) })
}

// settle is next with old's own nodes wherever the values are equal. Several merges one after the
// other may come back to a value by a detour, with another number text.
func settle(old, next *node) *node {
	if old == next || old.kind != jsonscan.Object || next.kind != jsonscan.Object {
		if old != next && equal(old, next) {
			return old
		}
		return next
	}
	var kids []kid // nil as long as next is right
	same := len(old.kids) == len(next.kids)
	at := 0
	for i, k := range next.kids {
		for at < len(old.kids) && old.kids[at].name < k.name {
			at++
		}
		if at == len(old.kids) || old.kids[at].name != k.name {
			same = false
			continue
		}
		settled := settle(old.kids[at].node, k.node)
		same = same && settled == old.kids[at].node
		if settled != k.node {
			if kids == nil {
				kids = slices.Clone(next.kids)
			}
			kids[i].node = settled
		}
	}
	switch {
	case same:
		return old
	case kids == nil:
		return next
	}
	return container(jsonscan.Object, kids)
}
