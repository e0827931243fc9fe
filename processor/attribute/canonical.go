package attribute

import "bytes"

// canonical tells whether valid JSON text is what Text would write.
func canonical(text []byte) bool {
	c := checker{text: text}
	return c.value() && c.pos == len(text)
}

type checker struct {
	text []byte
	pos  int
}

func (c *checker) value() bool {
	switch c.text[c.pos] {
	case '{':
		return c.kids('}')
	case '[':
		return c.kids(']')
	case '"':
		_, ok := c.str()
		return ok
	}
	for c.pos < len(c.text) {
		switch c.text[c.pos] {
		case ',', ']', '}':
			return true
		}
		if c.text[c.pos] <= ' ' {
			return false
		}
		c.pos++
	}
	return true
}

func (c *checker) kids(end byte) bool {
	var last []byte
	for first := true; ; first = false {
		c.pos++
		if c.text[c.pos] == end && first {
			break
		}
		if end == '}' {
			raw, ok := c.str()
			if !ok || !first && !ascends(last, raw) || c.text[c.pos] != ':' {
				return false
			}
			last = raw
			c.pos++
		}
		if !c.value() || c.text[c.pos] != ',' && c.text[c.pos] != end {
			return false
		}
		if c.text[c.pos] == end {
			break
		}
	}
	c.pos++
	return true
}

// ascends compares two names in canonical quotes.
func ascends(a, b []byte) bool {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a[1:len(a)-1], b[1:len(b)-1]) < 0
	}
	return unquote(string(a)) < unquote(string(b))
}

// str passes over a string and tells whether its escapes are canonical.
func (c *checker) str() ([]byte, bool) {
	if c.text[c.pos] != '"' {
		return nil, false
	}
	start := c.pos
	c.pos += quotedEnd(c.text[c.pos:])
	raw := c.text[start:c.pos]
	return raw, bytes.IndexByte(raw, '\\') < 0 || canonicalString(string(raw)) == string(raw)
}
