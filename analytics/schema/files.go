package schema

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"text/template"
	"time"
)

//go:embed migrations/*.sql
var sources embed.FS

const sourceDir = "migrations"

// files are the migrations with the engines filled in, as goose wants to read them: one folder.
type files map[string][]byte

// render fills in every migration's template.
func render(engines Engines) (files, error) {
	entries, err := sources.ReadDir(sourceDir)
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	out := files{}
	for _, entry := range entries {
		t, err := template.ParseFS(sources, path.Join(sourceDir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("parse migration: %w", err)
		}
		var text bytes.Buffer
		if err := t.Execute(&text, engines); err != nil {
			return nil, fmt.Errorf("render migration: %w", err)
		}
		out[entry.Name()] = text.Bytes()
	}
	return out, nil
}

// Open implements fs.FS.
func (f files) Open(name string) (fs.File, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{name: name, size: len(text), Reader: bytes.NewReader(text)}, nil
}

// Glob implements fs.GlobFS.
func (f files) Glob(pattern string) ([]string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(f)) { // goose wants them in order
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// file is an open migration, and its own fs.FileInfo.
type file struct {
	io.Reader
	name string
	size int
}

func (f *file) Stat() (fs.FileInfo, error) { return f, nil }
func (f *file) Close() error               { return nil }
func (f *file) Name() string               { return f.name }
func (f *file) Size() int64                { return int64(f.size) }
func (f *file) Mode() fs.FileMode          { return 0o444 }
func (f *file) ModTime() time.Time         { return time.Time{} }
func (f *file) IsDir() bool                { return false }
func (f *file) Sys() any                   { return nil }
