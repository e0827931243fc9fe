package attribute

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// diff lists the changed leaves by path, in the order of names. Both trees are settled: nodes that
// differ have different values.
func diff(old, next *node) ([]Change, error) {
	var d differ
	d.objects(old, next)
	if d.pathBytes > MaxPathBytes {
		return nil, fmt.Errorf("%w: the pointers of the changes have more than %d bytes", ErrLimit, MaxPathBytes)
	}
	return d.changes, nil
}

type differ struct {
	path      []byte
	pathBytes int
	changes   []Change
}

func (d *differ) objects(old, next *node) {
	i, j := 0, 0
	for (i < len(old.kids) || j < len(next.kids)) && d.pathBytes <= MaxPathBytes {
		length := len(d.path)
		switch order := compareHeads(old.kids[i:], next.kids[j:]); {
		case order < 0:
			d.push(old.kids[i].name)
			d.emit(Remove, old.kids[i].node, nil)
			i++
		case order > 0:
			d.push(next.kids[j].name)
			d.add(next.kids[j].node)
			j++
		default:
			if old.kids[i].node != next.kids[j].node {
				d.push(old.kids[i].name)
				d.values(old.kids[i].node, next.kids[j].node)
			}
			i++
			j++
		}
		d.path = d.path[:length]
	}
}

// compareHeads compares the names of the first kids; the end comes last.
func compareHeads(a, b []kid) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(a[0].name, b[0].name)
}

func (d *differ) values(old, next *node) {
	if old.kind == jsonscan.Object && next.kind == jsonscan.Object {
		d.objects(old, next)
		return
	}
	d.emit(opOf(old, next), old, next)
}

// opOf tells how one value became another; both are there and at least one is no object.
func opOf(old, next *node) Op {
	if next.kind != jsonscan.Array {
		return Update
	}
	switch {
	case old.kind == jsonscan.String && contains(next, old):
		return Union
	case old.kind != jsonscan.Array:
		return Update
	case !next.united:
		return Replace
	case startsWith(next, old):
		return Append
	case len(next.kids) > 1 && startsWith(&node{kids: next.kids[1:]}, old):
		return Union // a collapsed profile's string came before
	}
	return Replace
}

func startsWith(array, head *node) bool {
	return len(array.kids) >= len(head.kids) && slices.Equal(array.kids[:len(head.kids)], head.kids)
}

// add lists a new value leaf by leaf.
func (d *differ) add(n *node) {
	if n.leaf() {
		d.emit(Add, nil, n)
		return
	}
	for _, k := range n.kids {
		if d.pathBytes > MaxPathBytes {
			return
		}
		length := len(d.path)
		d.push(k.name)
		d.add(k.node)
		d.path = d.path[:length]
	}
}

// push appends one reference token (RFC 6901, section 3).
func (d *differ) push(name string) {
	d.path = append(d.path, '/')
	for i := range len(name) {
		switch name[i] {
		case '~':
			d.path = append(d.path, "~0"...)
		case '/':
			d.path = append(d.path, "~1"...)
		default:
			d.path = append(d.path, name[i])
		}
	}
}

func (d *differ) emit(op Op, old, next *node) {
	c := Change{Path: string(d.path), Op: op}
	c.Old, c.New = texts(old, next)
	d.pathBytes += len(d.path)
	d.changes = append(d.changes, c)
}

// texts writes both values into one piece of memory; no node has no text.
func texts(old, next *node) (before, after []byte) {
	size := int32(0)
	for _, n := range [...]*node{old, next} {
		if n != nil {
			size += n.size
		}
	}
	text := make([]byte, 0, size)
	if old != nil {
		text = old.appendText(text)
		before = slices.Clip(text)
	}
	if next != nil {
		after = next.appendText(text)[len(text):]
	}
	return before, after
}
