package attribute

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// node is one JSON value. It is never changed once it is part of a document, so documents share it.
type node struct {
	kind   jsonscan.Kind
	united bool  // an array made of a string and an array, not one that a client sent
	depth  uint8 // levels of containers, 0 for a scalar; maxDepth and what patches add fit
	leaves int32
	size   int32  // length of the canonical text
	text   string // a scalar's canonical text
	kids   []kid  // an object's members by name, bytewise; an array's elements
}

type kid struct {
	name string // unescaped; "" in an array
	*node
}

var empty = &node{kind: jsonscan.Object, depth: 1, leaves: 1, size: 2}

// container makes an object or an array of kids, which must be in order and without repetition.
func container(kind jsonscan.Kind, kids []kid) *node {
	n := &node{kind: kind, kids: kids}
	n.measure()
	return n
}

// measure sets what a container sums up over its kids.
func (n *node) measure() {
	n.depth, n.leaves = 0, 0
	n.size = int32(max(len("{}"), len(n.kids)+1))
	for _, k := range n.kids {
		n.depth = max(n.depth, k.depth)
		n.leaves += k.leaves
		n.size += k.size
		if n.kind == jsonscan.Object {
			n.size += int32(quotedLen(k.name) + 1)
		}
	}
	n.depth++
	if n.kind == jsonscan.Array || len(n.kids) == 0 {
		n.leaves = 1
	}
}

// leaf tells whether lineage names the value as a whole.
func (n *node) leaf() bool { return n.kind != jsonscan.Object || len(n.kids) == 0 }

// find tells where the member is, or would be, among an object's kids.
func find(kids []kid, name string) (int, bool) {
	return slices.BinarySearchFunc(kids, name, func(k kid, name string) int { return strings.Compare(k.name, name) })
}

// get is the member of that name, or nil.
func (n *node) get(name string) *node {
	if n.kind != jsonscan.Object {
		return nil
	}
	if i, ok := find(n.kids, name); ok {
		return n.kids[i].node
	}
	return nil
}

// equal compares by JSON value: 1 is 1.0, the order of members does not count.
func equal(a, b *node) bool {
	if a == b {
		return true
	}
	if a.kind != b.kind || len(a.kids) != len(b.kids) {
		return false
	}
	if a.kind == jsonscan.Number {
		return equalNumbers(a.text, b.text)
	}
	for i := range a.kids {
		if a.kids[i].name != b.kids[i].name || !equal(a.kids[i].node, b.kids[i].node) {
			return false
		}
	}
	return a.text == b.text
}

// appendKey appends a text that two nodes share if, and only if, they are equal.
func (n *node) appendKey(dst []byte) []byte {
	if n.kind == jsonscan.Number {
		return appendNumber(dst, n.text)
	}
	return n.write(dst, (*node).appendKey)
}

func (n *node) appendText(dst []byte) []byte { return n.write(dst, (*node).appendText) }

func (n *node) write(dst []byte, value func(*node, []byte) []byte) []byte {
	switch n.kind {
	case jsonscan.Object:
		dst = append(dst, '{')
		for i, k := range n.kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, k.name), ':')
			dst = value(k.node, dst)
		}
		return append(dst, '}')
	case jsonscan.Array:
		dst = append(dst, '[')
		for i, k := range n.kids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = value(k.node, dst)
		}
		return append(dst, ']')
	}
	return append(dst, n.text...)
}

// escapes are the characters that JSON text cannot hold as they are, with the shortest escape. NUL
// is not among them: it is no character of ours.
var escapes = func() (t [utf8.RuneSelf]string) {
	const hex = "0123456789abcdef"
	for c := 1; c < ' '; c++ {
		t[c] = `\u00` + string(hex[c>>4]) + string(hex[c&15])
	}
	t['\b'], t['\t'], t['\n'], t['\f'], t['\r'] = `\b`, `\t`, `\n`, `\f`, `\r`
	t['"'], t['\\'] = `\"`, `\\`
	return t
}()

func quotedLen(s string) int {
	n := len(s) + 2
	for i := range len(s) {
		if c := s[i]; c < utf8.RuneSelf && escapes[c] != "" {
			n += len(escapes[c]) - 1
		}
	}
	return n
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := range len(s) {
		if c := s[i]; c < utf8.RuneSelf && escapes[c] != "" {
			dst = append(append(dst, s[done:i]...), escapes[c]...)
			done = i + 1
		}
	}
	return append(append(dst, s[done:]...), '"')
}
