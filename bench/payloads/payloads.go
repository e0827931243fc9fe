// Package payloads is a catalogue of requests made of real-world files that this project has not
// written: messages of Segment and RudderStack SDKs, webhooks of Stripe, GitHub and Shopify,
// CloudEvents, exports. Each has its expected fate, judged from the specification by reading the
// file. It sends nothing; tests do.
//
// A representative part of the collection is embedded. Load reads a fuller one, of the same layout,
// from elsewhere.
package payloads

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
)

//go:embed testdata
var files embed.FS

// Case is one request with the answer it must get.
type Case struct {
	Name        string // the file's path in the collection, or a bundle's name
	Files       []string
	Method      string
	Path        string
	ContentType string
	Body        []byte
	Key         KeyPlace
	Want        Want
}

// KeyPlace is where a dialect's clients put the key.
type KeyPlace uint8

// The places. IntegrationKey is the header of XAPIKey with a key of the integration scope.
const (
	XAPIKey KeyPlace = iota
	IntegrationKey
	BasicAuth
	XWriteKey
)

// Want is the fate of a request.
type Want struct {
	Status   int
	Code     string // of the error, where Status is no success
	Accepted int    // events taken
	Rejected int    // events of a batch refused
	// MessageIDs are those of the accepted events; empty where the edge mints one. Many files have
	// the same: Distinct counts.
	MessageIDs []string
}

// All are the cases of the embedded files, in the order of their names.
func All() []Case {
	root, err := fs.Sub(files, "testdata")
	if err != nil {
		panic(err)
	}
	cases, err := Load(root)
	if err != nil {
		panic(err) // the embedded files are tested
	}
	return cases
}

// Load makes the cases of a collection: a folder with INDEX.jsonl, whose files have a fate in the
// embedded table. A file without one is an error: somebody has to read it first.
func Load(collection fs.FS) ([]Case, error) {
	index, err := readIndex(collection)
	if err != nil {
		return nil, err
	}
	fates, err := readFates()
	if err != nil {
		return nil, err
	}
	b := builder{collection: collection, bundles: map[string]int{}}
	for _, file := range index {
		judged := fates[file]
		if len(judged) == 0 {
			return nil, fmt.Errorf("find the fate of %s: it has none", file)
		}
		for _, f := range judged {
			if err := b.add(file, f); err != nil {
				return nil, fmt.Errorf("make a request of %s: %w", file, err)
			}
		}
	}
	b.close()
	return b.cases, nil
}

// Distinct counts the events that remain of all cases once every message id counts once.
func Distinct(cases []Case) int {
	seen := map[string]bool{}
	n := 0
	for _, c := range cases {
		for _, id := range c.Want.MessageIDs {
			if id == "" || !seen[id] {
				n++
			}
			seen[id] = true
		}
	}
	return n
}

// SetKey puts a key where the case's dialect has it: the tracker key, but for IntegrationKey.
func (c *Case) SetKey(h http.Header, tracker, integration string) {
	switch c.Key {
	case XAPIKey:
		h.Set("X-API-Key", tracker)
	case IntegrationKey:
		h.Set("X-API-Key", integration)
	case BasicAuth:
		r := http.Request{Header: h}
		r.SetBasicAuth(tracker, "")
	case XWriteKey:
		h.Set("X-Write-Key", tracker)
	}
}
