// Package attribute merges what events say about a person into the profile's attributes, and tells
// what changed, leaf by leaf (spec 2.6). It is pure: no I/O, no clock, no map order in any result.
// It knows nothing of profiles, events or stores; who decides what is late, and what becomes of a
// refused change, is the caller's business.
//
// Attributes are a tree of immutable nodes. A merge shares every subtree it does not change, so a
// copy costs nothing, an unchanged document is told by pointer equality, and a refused change leaves
// no trace.
package attribute

import (
	"errors"
	"fmt"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Op says how a leaf changed.
type Op string

// The ops of the lineage (spec 2.6).
const (
	Add     Op = "add"     // was absent
	Update  Op = "update"  // another value
	Replace Op = "replace" // another array
	Union   Op = "union"   // a string became an array that holds it
	Append  Op = "append"  // an array got a string more
	Remove  Op = "remove"  // is absent now; an object goes whole, in one change
)

// Change is one changed leaf. A leaf is whatever is no object with members: a scalar, an array, {}.
// Only Remove and Update may have an object with members as Old or New.
type Change struct {
	Path string // RFC 6901 pointer
	Op   Op
	Old  []byte // canonical JSON; nil for Add
	New  []byte // canonical JSON; nil for Remove
}

// Limits bound the attributes of one profile. A document that is over a limit already may not grow
// in that respect, and may always shrink.
type Limits struct {
	Depth  int // levels of objects and arrays, the document's own braces included
	Leaves int // an array is one leaf, whatever it holds
	Bytes  int // of the canonical text
}

// DefaultLimits is what the specification says.
func DefaultLimits() Limits { return Limits{Depth: 32, Leaves: 2000, Bytes: 256 << 10} }

// MaxPathBytes bounds the pointers of one event's changes together. Long names around many leaves
// would otherwise let a small event write hundreds of megabytes of lineage.
const MaxPathBytes = 1 << 20

// ErrLimit is wrapped by the error of a change that would exceed a limit; the document is as before.
var ErrLimit = errors.New("attributes exceed a limit")

// Document is a profile's attributes. The zero value is {}. Copies are independent. A Document is
// not safe for concurrent use, copies of one are.
type Document struct {
	text []byte // canonical; nil: not written yet
	root *node  // nil: not parsed yet
}

// Parse takes the JSON text of an object; no text is {}. It keeps text, which must not change any
// more. Canonical text, which is what a store holds, is only checked; the tree is built when a
// patch needs it.
func Parse(text []byte) (Document, error) {
	if len(text) == 0 {
		return Document{}, nil
	}
	if err := jsonscan.Valid(text, maxDepth); err != nil {
		return Document{}, fmt.Errorf("parse attributes: %w", err)
	}
	if canonical(text) && text[0] == '{' {
		return Document{text: text}, nil
	}
	root := build(text)
	if root.kind != jsonscan.Object {
		return Document{}, errors.New("parse attributes: expected an object")
	}
	return Document{root: root}, nil
}

// Text is the canonical JSON text: members sorted bytewise by name, no white space, the fewest
// escapes, numbers as they came, U+FFFD for NUL and lone surrogates. It must not be changed.
func (d *Document) Text() []byte {
	if d.text == nil {
		root := d.tree()
		d.text = root.appendText(make([]byte, 0, root.size))
	}
	return d.text
}

// Empty tells whether there are no attributes.
func (d *Document) Empty() bool { return string(d.Text()) == "{}" }

// Clone is a copy that later changes of either do not touch. It costs nothing.
func (d *Document) Clone() Document { return *d }

func (d *Document) tree() *node {
	if d.root == nil {
		d.root = empty
		if d.text != nil {
			d.root = build(d.text)
		}
	}
	return d.root
}

// Patch is what one event says about attributes. What is no object says nothing.
type Patch struct {
	Payload []byte // raw JSON; its member $unset (an array of paths) is obeyed and not stored
	Traits  []byte // raw JSON, merged after Payload
	Late    bool   // may only fill: add, union, append
}

// Apply merges one event: first payload.$unset removes, then the payload merges, then the traits.
// All of it counts or, with ErrLimit, nothing. Changes are the difference between before and
// after, by path, so there is at most one for a path and none for what ends as it was; paths of one
// answer never contain each other. Any other error means that the patch is not JSON.
func (d *Document) Apply(p Patch, lim Limits) ([]Change, error) {
	payload, err := parsePatch(p.Payload)
	if err != nil {
		return nil, err
	}
	traits, err := parsePatch(p.Traits)
	if err != nil {
		return nil, err
	}
	if payload == nil && traits == nil {
		return nil, nil
	}
	m := merger{late: p.Late}
	old := d.tree()
	next := old
	if payload != nil {
		rest, paths := payload.cutUnset()
		if paths != nil && !p.Late {
			next = unset(next, paths)
		}
		next = m.merge(next, rest)
	}
	if traits != nil {
		next = m.merge(next, traits)
	}
	return d.become(next, lim)
}

// Absorb takes over what the attributes of a collapsed profile have and these lack: the loser's are
// the base, these are merged over them (spec 2.5). The changes are relative to d, so that folding
// the winner's lineage goes on giving the winner's attributes. The loser stays as it is.
func (d *Document) Absorb(loser *Document, lim Limits) ([]Change, error) {
	var m merger
	return d.become(m.merge(loser.tree(), d.tree()), lim)
}

// become moves on to the next state, if that is another one and within the limits.
func (d *Document) become(next *node, lim Limits) ([]Change, error) {
	old := d.tree()
	if next = settle(old, next); next == old {
		return nil, nil
	}
	if err := lim.check(old, next); err != nil {
		return nil, err
	}
	changes, err := diff(old, next)
	if err != nil {
		return nil, err
	}
	d.root, d.text = next, nil
	return changes, nil
}

func (l Limits) check(old, next *node) error {
	for _, x := range []struct {
		what            string
		old, next, most int
	}{
		{"levels", int(old.depth), int(next.depth), l.Depth},
		{"leaves", int(old.leaves), int(next.leaves), l.Leaves},
		{"bytes", int(old.size), int(next.size), l.Bytes},
	} {
		if x.next > x.most && x.next > x.old {
			return fmt.Errorf("%w: %d %s, at most %d", ErrLimit, x.next, x.what, x.most)
		}
	}
	return nil
}
