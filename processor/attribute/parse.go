package attribute

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// maxDepth bounds recursion. An event nests at most 64 levels and a caller may wrap what it says a
// few levels deeper; node.depth holds twice as much.
const maxDepth = 120

// parsePatch reads one part of a patch; what is no object, null included, is nil.
func parsePatch(raw []byte) (*node, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if err := jsonscan.Valid(raw, maxDepth); err != nil {
		return nil, fmt.Errorf("parse patch: %w", err)
	}
	if raw = bytes.TrimLeft(raw, " \t\r\n"); raw[0] != '{' {
		return nil, nil
	}
	return build(raw), nil
}

// build makes the tree of valid JSON text. Values are slices of one copy of the text.
func build(text []byte) *node {
	n := values(text)
	kids := make([]kid, min(n, maxNodes))
	b := builder{text: string(text), nodes: make([]node, len(kids)), stack: kids[:0]}
	if n == len(kids) {
		b.room = kids
	}
	return b.value()
}

type builder struct {
	text  string
	pos   int
	nodes []node // to be handed out
	stack []kid  // of the containers around pos
	// room is where kids go that stay: the memory of stack, from its far end. There is one kid for each
	// value, in the one or the other, so they do not meet. Nil: there may not be enough for all.
	room []kid
}

// maxNodes bounds how many are made at once: a text full of commas may be one string.
const maxNodes = 256

func (b *builder) node() *node {
	if len(b.nodes) == 0 {
		b.nodes = make([]node, maxNodes)
	}
	n := &b.nodes[0]
	b.nodes = b.nodes[1:]
	return n
}

// values is at least how many values a text holds: each but the first comes after a comma, or first in
// a container.
func values(text []byte) int {
	n := 1
	for _, c := range text {
		if c == ',' || c == '{' || c == '[' {
			n++
		}
	}
	return n
}

func (b *builder) value() *node {
	b.space()
	n := b.node()
	start := b.pos
	switch b.text[b.pos] {
	case '{':
		n.kind = jsonscan.Object
		b.kids(n, '}')
		return n
	case '[':
		n.kind = jsonscan.Array
		b.kids(n, ']')
		return n
	case '"':
		n.kind = jsonscan.String
		n.text = canonicalString(b.str())
	default:
		for b.pos < len(b.text) && strings.IndexByte(",]} \t\r\n", b.text[b.pos]) < 0 {
			b.pos++
		}
		n.text = b.text[start:b.pos]
		n.kind = scalarKind(n.text[0])
	}
	n.leaves, n.size = 1, int32(len(n.text))
	return n
}

func scalarKind(c byte) jsonscan.Kind {
	switch c {
	case 'n':
		return jsonscan.Null
	case 't', 'f':
		return jsonscan.Bool
	}
	return jsonscan.Number
}

// kids reads a container, pos being at its opening bracket.
func (b *builder) kids(n *node, end byte) {
	base := len(b.stack)
	b.pos++
	for b.space(); b.text[b.pos] != end; b.space() {
		if b.text[b.pos] == ',' {
			b.pos++
			b.space()
		}
		var k kid
		if n.kind == jsonscan.Object {
			k.name = unquote(b.str())
			b.space()
			b.pos++ // the colon
		}
		k.node = b.value()
		b.stack = append(b.stack, k)
	}
	b.pos++
	kids := b.stack[base:]
	if n.kind == jsonscan.Object {
		kids = sortMembers(kids)
	}
	n.kids = b.keep(kids)
	b.stack = b.stack[:base]
	n.measure()
}

// keep is a copy that stays.
func (b *builder) keep(kids []kid) []kid {
	if len(kids) == 0 {
		return nil
	}
	if b.room == nil {
		return slices.Clone(kids)
	}
	n := len(b.room) - len(kids)
	kept := slices.Clip(b.room[n:])
	b.room = b.room[:n]
	copy(kept, kids)
	return kept
}

// sortMembers sorts by name; of members of one name it keeps the last.
func sortMembers(kids []kid) []kid {
	sorted := true
	for i := 1; i < len(kids) && sorted; i++ {
		sorted = kids[i-1].name < kids[i].name
	}
	if sorted {
		return kids
	}
	slices.SortStableFunc(kids, func(a, b kid) int { return strings.Compare(a.name, b.name) })
	n := 0
	for i, k := range kids {
		if i+1 == len(kids) || kids[i+1].name != k.name {
			kids[n] = k
			n++
		}
	}
	return kids[:n]
}

// str is the raw string at pos, quotes included.
func (b *builder) str() string {
	start := b.pos
	b.pos += quotedEnd(b.text[b.pos:])
	return b.text[start:b.pos]
}

// quotedEnd is the length of the raw string at the start of valid text.
func quotedEnd[T string | []byte](text T) int {
	i := 1
	for ; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func (b *builder) space() {
	for b.pos < len(b.text) && b.text[b.pos] <= ' ' {
		b.pos++
	}
}

// unquote is the text of a raw string, without what a state store cannot hold.
func unquote(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	return strings.ReplaceAll(string(jsonscan.Unquote(nil, []byte(raw))), "\x00", "\ufffd")
}

func canonicalString(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return string(appendQuoted(nil, unquote(raw)))
}
