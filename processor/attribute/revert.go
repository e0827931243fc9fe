package attribute

import (
	"bytes"
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Revert takes changes back that an earlier Absorb answered: where the value at a path still is the
// change's New, it becomes the change's Old, or goes where there was none. An object that has no
// member left goes too, unless one of the documents in had has an object there: it was made for the
// value that goes. What it answers are the changes made, as Apply does; no limit stops it but that on
// the length of paths, which Absorb had to keep too.
func (d *Document) Revert(changes []Change, had ...*Document) ([]Change, error) {
	next := d.tree()
	for _, c := range changes {
		names := pointer(c.Path)
		if len(names) == 0 {
			continue
		}
		before := make([]*node, 0, len(had))
		for _, h := range had {
			before = append(before, h.tree())
		}
		next = revert(next, names, c, before)
	}
	return d.become(next, unlimited)
}

// unlimited is for what a document was before, or less.
var unlimited = Limits{Depth: maxDepth, Leaves: 1<<31 - 1, Bytes: 1<<31 - 1}

// pointer is the names of an RFC 6901 pointer to a member, nil for any other.
func pointer(path string) []string {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	names := strings.Split(rest, "/")
	for i := range names {
		names[i] = pointerName.Replace(names[i])
	}
	return names
}

// revert is the tree with one change taken back; n itself where there is nothing to take back.
func revert(n *node, names []string, c Change, had []*node) *node {
	if n.kind != jsonscan.Object {
		return n
	}
	i, found := find(n.kids, names[0])
	if !found {
		return n
	}
	var value *node
	if len(names) > 1 {
		below := members(had, names[0])
		value = revert(n.kids[i].node, names[1:], c, below)
		if value == n.kids[i].node {
			return n
		}
		if len(value.kids) == 0 && len(below) == 0 {
			value = nil
		}
	} else {
		if !bytes.Equal(n.kids[i].appendText(nil), c.New) {
			return n
		}
		if c.Old != nil {
			value = build(c.Old)
		}
	}
	kids := slices.Clone(n.kids)
	if value == nil {
		kids = slices.Delete(kids, i, i+1)
	} else {
		kids[i].node = value
	}
	return container(jsonscan.Object, kids)
}

// members are the objects of that name in objects.
func members(objects []*node, name string) (found []*node) {
	for _, o := range objects {
		if m := o.get(name); m != nil && m.kind == jsonscan.Object {
			found = append(found, m)
		}
	}
	return found
}
