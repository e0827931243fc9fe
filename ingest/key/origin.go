package key

import "strings"

// origins is a tracker key's list: "https://shop.example", "https://*.shop.example" for any
// subdomain, "null" for pages without an origin (a sandboxed frame), "*" for any.
type origins []string

func parseOrigins(list []string) origins {
	out := make(origins, 0, len(list))
	for _, o := range list {
		out = append(out, strings.ToLower(strings.TrimSuffix(strings.TrimSpace(o), "/")))
	}
	return out
}

func (o origins) allow(origin []byte) bool {
	for _, pattern := range o {
		if pattern == "*" || foldEqual(origin, pattern) {
			return true
		}
		scheme, host, wild := strings.Cut(pattern, "://*.")
		if !wild {
			continue
		}
		// scheme://<label(s)>.host: the star stands for at least one character and no "/".
		if n := len(scheme) + len("://"); len(origin) > n+1+len(host) &&
			foldEqual(origin[:n], scheme+"://") &&
			origin[len(origin)-len(host)-1] == '.' &&
			foldEqual(origin[len(origin)-len(host):], host) {
			return true
		}
	}
	return false
}

// foldEqual compares ASCII text with lower-case text.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
