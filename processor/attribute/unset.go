package attribute

import (
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// unsetMember is the payload's member that removes attributes.
const unsetMember = "$unset"

// cutUnset splits a payload into what merges and its $unset, nil without one.
func (n *node) cutUnset() (rest, paths *node) {
	i, ok := find(n.kids, unsetMember)
	if !ok {
		return n, nil
	}
	kids := slices.Concat(n.kids[:i], n.kids[i+1:])
	return container(jsonscan.Object, kids), n.kids[i].node
}

// unset removes what the paths name. A path is names joined by dots, or an RFC 6901 pointer where
// it starts with a slash. Names may hold dots and slashes themselves, so a path has several
// readings: the whole of it, at every level what is left of it, may be one name. All that are there
// are removed: removing the first only would make the same event, come again, remove the next one.
// Parents stay, also empty. Nothing inside an array can be removed; what is no string is ignored.
func unset(root, paths *node) *node {
	if paths.kind != jsonscan.Array {
		return root
	}
	gone := make(map[*node]struct{})
	for _, k := range paths.kids {
		if k.kind != jsonscan.String {
			continue
		}
		path := unquote(k.text)
		mark(gone, root, path, ".", nil)
		if strings.HasPrefix(path, "/") {
			mark(gone, root, path[1:], "/", pointerName)
		}
	}
	if len(gone) == 0 {
		return root
	}
	return prune(root, gone)
}

var pointerName = strings.NewReplacer("~1", "/", "~0", "~")

// mark collects the nodes that a path names.
func mark(gone map[*node]struct{}, n *node, path, separator string, names *strings.Replacer) {
	for n != nil {
		name, rest, more := strings.Cut(path, separator)
		if names != nil {
			name = names.Replace(name)
		} else if whole := n.get(path); whole != nil {
			gone[whole] = struct{}{}
		}
		n = n.get(name)
		if !more {
			if n != nil {
				gone[n] = struct{}{}
			}
			return
		}
		path = rest
	}
}

// prune is the tree without the nodes that are gone.
func prune(n *node, gone map[*node]struct{}) *node {
	if n.kind != jsonscan.Object {
		return n
	}
	var kids []kid // nil as long as all stay
	for i, k := range n.kids {
		_, dead := gone[k.node]
		pruned := k.node
		if !dead {
			pruned = prune(k.node, gone)
		}
		if kids == nil && pruned == k.node && !dead {
			continue
		}
		if kids == nil {
			kids = append(make([]kid, 0, len(n.kids)), n.kids[:i]...)
		}
		if !dead {
			kids = append(kids, kid{k.name, pruned})
		}
	}
	if kids == nil {
		return n
	}
	return container(jsonscan.Object, kids)
}
