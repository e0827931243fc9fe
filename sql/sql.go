// Package sql holds the state store's statements and migrations, as .sql files, and opens
// connections to it. The same statements run on CockroachDB and on PostgreSQL 15+; a test holds each
// of them against a real server and against the list of what the two do not share.
//
// It is for processor/store, internal/control and commands only.
package sql

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:embed queries/*.sql
var queryFiles embed.FS

var statements = must(parseAll(queryFiles))

// Statement is the text of a named statement. A name that is not there is a bug: it panics. Call it
// from package-level variables, so that it does so when the program starts.
func Statement(name string) string {
	text, ok := statements[name]
	if !ok {
		panic("sql: no statement is named " + name)
	}
	return text
}

// Names are the names of all statements, sorted.
func Names() []string { return slices.Sorted(maps.Keys(statements)) }

func must(m map[string]string, err error) map[string]string {
	if err != nil {
		panic(err)
	}
	return m
}

func parseAll(files fs.FS) (map[string]string, error) {
	paths, err := fs.Glob(files, "queries/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list query files: %w", err)
	}
	all := map[string]string{}
	for _, path := range paths {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if err := parse(all, string(text)); err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
	}
	return all, nil
}

const nameMark = "-- name:"

// parse takes a file apart: a statement goes from its "-- name:" line to its semicolon at the end of
// a line. Comments stay here: the server need not see them.
func parse(into map[string]string, text string) error {
	var name string
	var body []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch {
		case strings.HasPrefix(line, nameMark):
			if name != "" {
				return fmt.Errorf("statement %s has no semicolon", name)
			}
			name = strings.TrimSpace(strings.TrimPrefix(line, nameMark))
			if _, twice := into[name]; twice || name == "" {
				return fmt.Errorf("statement %q is there twice or has no name", name)
			}
		case strings.HasPrefix(line, "--") || line == "":
		case name == "":
			return fmt.Errorf("text before a name: %q", line)
		case strings.HasSuffix(line, ";"):
			into[name] = strings.Join(append(body, strings.TrimSuffix(line, ";")), "\n")
			name, body = "", nil
		default:
			body = append(body, line)
		}
	}
	if name != "" {
		return fmt.Errorf("statement %s has no semicolon", name)
	}
	return nil
}
