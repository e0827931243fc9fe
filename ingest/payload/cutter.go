package payload

import (
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// cutter finds where values end without looking inside them more than that takes.
type cutter struct {
	data []byte
	pos  int
}

func (c *cutter) fail(reason string) error {
	if c.pos >= len(c.data) {
		reason = "unexpected end of input"
	}
	return event.JSONError(&jsonscan.SyntaxError{Offset: c.pos, Reason: reason})
}

func (c *cutter) peek() byte {
	if c.pos < len(c.data) {
		return c.data[c.pos]
	}
	return 0
}

func (c *cutter) space() {
	for c.pos < len(c.data) {
		switch c.data[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

// key reads a member's name and the colon after it.
func (c *cutter) key() ([]byte, error) {
	if c.peek() != '"' {
		return nil, c.fail("expected a member name")
	}
	start := c.pos
	if err := c.closed(); err != nil {
		return nil, err
	}
	raw := c.data[start:c.pos]
	if err := jsonscan.Valid(raw, 1); err != nil {
		return nil, event.JSONError(err)
	}
	if c.space(); c.peek() != ':' {
		return nil, c.fail("expected a colon")
	}
	c.pos++
	c.space()
	return jsonscan.Unquote(nil, raw), nil
}

// skip moves behind a value: to the bracket that closes it, the quote that ends it, or where a
// scalar must have ended. Brackets are counted, not matched: who validates the item sees the rest.
func (c *cutter) skip() error {
	switch c.peek() {
	case '{', '[', '"':
		return c.closed()
	}
	start := c.pos
	for c.pos < len(c.data) {
		switch c.data[c.pos] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			if c.pos == start {
				return c.fail("expected a value")
			}
			return nil
		}
		c.pos++
	}
	return c.fail("expected a value")
}

// closed moves behind a string, an object or an array.
func (c *cutter) closed() error {
	end, ok := jsonscan.Skip(c.data, c.pos)
	if !ok {
		c.pos = len(c.data)
		return c.fail("")
	}
	c.pos = end
	return nil
}
