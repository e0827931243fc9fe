package identity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Count is how many identifiers of a kind a profile owns.
type Count struct {
	Kind string
	N    int
}

// Counts is what a profile owns, sorted by kind, without zeros.
type Counts []Count

// Of is the count of one kind.
func (c Counts) Of(kind string) int {
	for _, x := range c {
		if x.Kind == kind {
			return x.N
		}
	}
	return 0
}

// Total is how many identifiers there are.
func (c Counts) Total() (n int) {
	for _, x := range c {
		n += x.N
	}
	return n
}

// Add changes the count of a kind by n.
func (c *Counts) Add(kind string, n int) {
	i, found := slices.BinarySearchFunc(*c, kind, func(x Count, kind string) int {
		return strings.Compare(x.Kind, kind)
	})
	if !found {
		*c = slices.Insert(*c, i, Count{Kind: kind})
	}
	if (*c)[i].N += n; (*c)[i].N == 0 {
		*c = slices.Delete(*c, i, i+1)
	}
}

// String is the stored form: "anonymous=2 email=1". Kinds have no spaces (event.Settings).
func (c Counts) String() string {
	var b []byte
	for _, x := range c {
		if b != nil {
			b = append(b, ' ')
		}
		b = append(b, x.Kind...)
		b = append(b, '=')
		b = strconv.AppendInt(b, int64(x.N), 10)
	}
	return string(b)
}

// ParseCounts reads the stored form.
func ParseCounts(s string) (Counts, error) {
	var c Counts
	for field := range strings.FieldsSeq(s) {
		kind, text, _ := strings.Cut(field, "=")
		n, err := strconv.Atoi(text)
		if err != nil || kind == "" || n < 1 || c.Of(kind) > 0 {
			return nil, fmt.Errorf("read counts of identifiers: malformed %q", field)
		}
		c.Add(kind, n)
	}
	return c, nil
}
