package attribute

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Fold applies a profile's lineage, in order, to {}: the result is the profile's attributes (law
// 2). Parents that are absent are made, parents that lose their last member stay. The error says
// which change does not fit, and means that lineage is missing or out of order.
func Fold(changes []Change) (Document, error) {
	root := &node{kind: jsonscan.Object}
	for i, c := range changes {
		if err := fold(root, c); err != nil {
			return Document{}, fmt.Errorf("fold change %d: %w", i, err)
		}
	}
	root.remeasure()
	return Document{root: root}, nil
}

// fold changes a tree that is nobody else's yet, in place.
func fold(n *node, c Change) error {
	rest, ok := strings.CutPrefix(c.Path, "/")
	if !ok {
		return errors.New("path is no pointer to a member")
	}
	for level := 1; ; level++ {
		token, below, more := strings.Cut(rest, "/")
		name := pointerName.Replace(token)
		i, found := find(n.kids, name)
		if !more {
			return set(n, i, found, name, c)
		}
		if level == maxDepth {
			return jsonscan.ErrTooDeep
		}
		if !found {
			n.kids = slices.Insert(n.kids, i, kid{name, &node{kind: jsonscan.Object}})
		}
		if n = n.kids[i].node; n.kind != jsonscan.Object {
			return errors.New("parent is no object")
		}
		rest = below
	}
}

func set(n *node, i int, found bool, name string, c Change) error {
	if c.Op == Remove {
		if !found {
			return errors.New("nothing to remove")
		}
		n.kids = slices.Delete(n.kids, i, i+1)
		return nil
	}
	if err := jsonscan.Valid(c.New, maxDepth); err != nil {
		return fmt.Errorf("read the new value: %w", err)
	}
	value := build(c.New)
	if found {
		n.kids[i].node = value
	} else {
		n.kids = slices.Insert(n.kids, i, kid{name, value})
	}
	return nil
}

func (n *node) remeasure() {
	if n.kind != jsonscan.Object {
		return
	}
	for _, k := range n.kids {
		k.remeasure()
	}
	n.measure()
}
