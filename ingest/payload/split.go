package payload

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// ErrTooMany says that a batch has more items than the limit.
var ErrTooMany = errors.New("too many items in the batch")

// Batch is a body cut into items. The items are slices of the body and unjudged: each may be
// anything, also no JSON, so that one bad item does not spoil its neighbours.
type Batch struct {
	Items  [][]byte
	Others []Member    // of a wrapping object, beside the list; valid JSON
	Worked func(n int) // if set, it is told how many bytes have been cut, and may take its time
	limit  int
}

// Member is a member of the wrapping object.
type Member struct {
	Key   string
	Value []byte // raw
}

// fewItems grow as append has it.
const fewItems = 1 << 10

// maxOthers bounds the members of a wrapping object.
const maxOthers = 64

// Other is the raw value of a member beside the list, or nil.
func (b *Batch) Other(key string) []byte {
	for i := len(b.Others) - 1; i >= 0; i-- {
		if b.Others[i].Key == key {
			return b.Others[i].Value
		}
	}
	return nil
}

// Reset empties b for a batch of at most limit items.
func (b *Batch) Reset(limit int) {
	clear(b.Items)
	clear(b.Others)
	b.Items, b.Others, b.limit = b.Items[:0], b.Others[:0], limit
}

// Document cuts a JSON document: a bare array of items, or an object that holds them in the member
// list. It is checked outside the items only. The error is an *event.Error or ErrTooMany.
func (b *Batch) Document(body []byte, list string) error {
	body = Trim(body)
	c := cutter{data: body}
	switch c.peek() {
	case '[':
		return b.finish(&c, b.array(&c))
	case '{':
		found, err := b.object(&c, list)
		if err = b.finish(&c, err); err == nil && !found {
			err = &event.Error{Code: event.CodeInvalidEvent, Message: list + " is missing: give an array of events", Field: list}
		}
		return err
	}
	return c.fail("expected an object or an array")
}

func (b *Batch) finish(c *cutter, err error) error {
	if err == nil {
		if c.space(); c.pos < len(c.data) {
			err = c.fail("unexpected text after the batch (lines are application/x-ndjson)")
		}
	}
	return err
}

// LooksLikeLines tells an NDJSON body that does not say so: an object, and then another one.
func LooksLikeLines(body []byte) bool {
	c := cutter{data: Trim(body)}
	if c.peek() != '{' || c.skip() != nil {
		return false
	}
	c.space()
	return c.peek() == '{'
}

// Lines cuts NDJSON: one item a line, blank lines skipped. The error is ErrTooMany.
func (b *Batch) Lines(body []byte) error {
	body = bytes.TrimPrefix(body, byteOrderMark)
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if err := b.add(line); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) add(item []byte) error {
	if len(b.Items) >= b.limit {
		return fmt.Errorf("%w: the limit is %d", ErrTooMany, b.limit)
	}
	if n := len(b.Items); n == cap(b.Items) && n >= fewItems { // append's own steps leave five times as much behind
		b.Items = slices.Grow(b.Items, max(min(3*n, b.limit-n), 1))
	}
	b.Items = append(b.Items, item)
	if b.Worked != nil {
		b.Worked(len(item))
	}
	return nil
}

func (b *Batch) array(c *cutter) error {
	c.pos++ // [
	if c.space(); c.peek() == ']' {
		c.pos++
		return nil
	}
	for {
		start := c.pos
		if err := c.skip(); err != nil {
			return err
		}
		if err := b.add(c.data[start:c.pos]); err != nil {
			return err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.pos++
			c.space()
		case ']':
			c.pos++
			return nil
		default:
			return c.fail("expected a comma or the end of the array")
		}
	}
}

func (b *Batch) object(c *cutter, list string) (found bool, err error) {
	c.pos++ // {
	if c.space(); c.peek() == '}' {
		c.pos++
		return false, nil
	}
	for {
		key, err := c.key()
		if err != nil {
			return found, err
		}
		if string(key) == list {
			if found {
				return found, &event.Error{Code: event.CodeInvalidEvent, Message: list + " is given twice", Field: list}
			}
			found = true
			if c.peek() != '[' {
				return found, &event.Error{Code: event.CodeInvalidEvent, Message: list + " must be an array", Field: list}
			}
			err = b.array(c)
		} else {
			err = b.other(c, key)
		}
		if err != nil {
			return found, err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.pos++
			c.space()
		case '}':
			c.pos++
			return found, nil
		default:
			return found, c.fail("expected a comma or the end of the object")
		}
	}
}

func (b *Batch) other(c *cutter, key []byte) error {
	start := c.pos
	if err := c.skip(); err != nil {
		return err
	}
	value := c.data[start:c.pos]
	if err := jsonscan.Valid(value, event.DefaultLimits().Depth); err != nil {
		return event.JSONError(err)
	}
	if len(b.Others) >= maxOthers {
		return c.fail("too many members beside the list")
	}
	b.Others = append(b.Others, Member{Key: string(key), Value: value})
	return nil
}
