// Package weburl takes web addresses apart for the columns analysts reach for. Addresses come from
// browsers and from people's programs, so nothing is refused: a part that cannot be told is empty.
// It is pure, and allocates only for a host in capitals and for an escaped parameter.
package weburl

import (
	"strings"
	"unicode/utf8"
)

// Parts are slices of an address.
type Parts struct {
	Host  string // lower case, without user and port
	Path  string // as given, escapes kept
	Query string // as given, without the question mark
}

// Parse takes an address apart: "https://shop.example/cart?x=1#top", "//host/path", "/path?x=1". An
// address without "//" and without a leading "/" that names a scheme (mailto:, about:) has no parts.
func Parse(address string) (p Parts) {
	rest := strings.TrimSpace(address)
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		rest, p.Query = rest[:i], rest[i+1:]
	}
	n := schemeLen(rest)
	rest = rest[n:]
	if !strings.HasPrefix(rest, "//") {
		if n > 0 {
			return Parts{}
		}
		p.Path = rest
		return p
	}
	authority := rest[2:]
	if i := strings.IndexByte(authority, '/'); i >= 0 {
		authority, p.Path = authority[:i], authority[i:]
	}
	p.Host = host(authority)
	return p
}

// schemeLen is the length of "scheme:" at the start, or 0.
func schemeLen(s string) int {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'):
		case i > 0 && s[i] == ':':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

func host(authority string) string {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	if strings.HasPrefix(authority, "[") { // IPv6
		if i := strings.IndexByte(authority, ']'); i >= 0 {
			return strings.ToLower(authority[1:i])
		}
		return ""
	}
	if i := strings.IndexByte(authority, ':'); i >= 0 {
		authority = authority[:i]
	}
	return strings.ToLower(authority)
}

// Params iterates over the parameters of a query.
//
//	q := Params(query)
//	for key, value, ok := q.Next(); ok; key, value, ok = q.Next() { use(key, value) }
type Params string

// Next cuts the next parameter off the query. At the end it answers false.
func (p *Params) Next() (key, value string, ok bool) {
	for len(*p) > 0 {
		param := string(*p)
		if i := strings.IndexByte(param, '&'); i >= 0 {
			*p, param = (*p)[i+1:], param[:i]
		} else {
			*p = ""
		}
		if param == "" {
			continue
		}
		key, value, _ = strings.Cut(param, "=")
		return key, value, true
	}
	return "", "", false
}

// Unescape is the text of a parameter's value: %XX and + resolved. A broken escape stays as it is,
// and bytes that are no UTF-8 become U+FFFD.
func Unescape(value string) string {
	if strings.IndexByte(value, '%') < 0 && strings.IndexByte(value, '+') < 0 {
		return value
	}
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(value) && isHex(value[i+1]) && isHex(value[i+2]):
			out = append(out, hex(value[i+1])<<4|hex(value[i+2]))
			i += 2
		default:
			out = append(out, c)
		}
	}
	if !utf8.Valid(out) {
		return strings.ToValidUTF8(string(out), string(utf8.RuneError))
	}
	return string(out)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func hex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
