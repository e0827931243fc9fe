package check

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func pages(t *testing.T) []*Page {
	t.Helper()
	all, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("%d pages", len(all))
	}
	return all
}

// Every block is run by TestDocs (cmd/keystone), names what else runs it, or says to its reader that
// nothing does. docs/testing.md says how.
func TestBlocks(t *testing.T) {
	repository := scan(t)
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			if wrong := repository.wrongBlock(b); wrong != "" {
				t.Errorf("%s:%d: %s", p.Path, b.Line, wrong)
			}
		}
	}
}

// Links within the repository lead somewhere, to a heading too.
func TestLinks(t *testing.T) {
	all := map[string]*Page{}
	for _, p := range pages(t) {
		all[p.Path] = p
	}
	for _, p := range all {
		for _, l := range p.Links {
			to, err := url.Parse(l.To)
			if err != nil {
				t.Errorf("%s:%d: %v", p.Path, l.Line, err)
				continue
			}
			if to.IsAbs() {
				continue
			}
			target := p.Path
			if to.Path != "" {
				target = path.Join(path.Dir(p.Path), to.Path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s:%d: %s leads nowhere", p.Path, l.Line, l.To)
			} else if there := all[target]; to.Fragment != "" && (there == nil || !there.Headings[to.Fragment]) {
				t.Errorf("%s:%d: %s has no heading %q", p.Path, l.Line, target, to.Fragment)
			}
		}
	}
}

// A page that is not linked to is not read.
func TestEveryPageCanBeReached(t *testing.T) {
	links := map[string][]string{}
	for _, p := range pages(t) {
		links[p.Path] = nil
		for _, l := range p.Links {
			if to, err := url.Parse(l.To); err == nil && !to.IsAbs() {
				links[p.Path] = append(links[p.Path], path.Join(path.Dir(p.Path), to.Path))
			}
		}
	}
	reached := map[string]bool{}
	var visit func(string)
	visit = func(page string) {
		if _, ok := links[page]; !ok || reached[page] {
			return
		}
		reached[page] = true
		for _, next := range links[page] {
			visit(next)
		}
	}
	visit("docs/README.md")
	for page := range links {
		if !reached[page] && page != "CHANGELOG.md" {
			t.Errorf("no link leads from docs/README.md to %s", page)
		}
	}
}

// What pages name is there: tests, folders and files, environment variables.
func TestNames(t *testing.T) {
	repository := scan(t)
	tops, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	top := map[string]bool{}
	for _, e := range tops {
		top[e.Name()] = e.IsDir() && e.Name() != "bin" && e.Name() != ".keystone" // which make build and make run leave
	}
	for _, p := range pages(t) {
		if p.Path == "CHANGELOG.md" {
			continue // it tells of what was
		}
		for _, c := range append([]Code{{Text: p.Prose}}, p.Code...) {
			for _, name := range testName.FindAllString(c.Text, -1) {
				if !repository.funcs[name] && !strings.Contains(c.Text, name+"…") {
					t.Errorf("%s:%d: there is no %s", p.Path, c.Line, name)
				}
			}
			for _, name := range variable.FindAllString(c.Text, -1) {
				if !strings.Contains(repository.source, name) {
					t.Errorf("%s:%d: nothing reads %s", p.Path, c.Line, name)
				}
			}
			if first, _, deep := strings.Cut(c.Text, "/"); deep && top[first] && pathName.MatchString(c.Text) {
				pattern := strings.NewReplacer("ROLE", "*", "NAME", "*").Replace(c.Text)
				if found, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(found) == 0 {
					t.Errorf("%s:%d: there is no %s", p.Path, c.Line, c.Text)
				}
			}
		}
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`)
	variable = regexp.MustCompile(`\bKEYSTONE_[A-Z_]*[A-Z]`)
	pathName = regexp.MustCompile(`^[\w.*/-]+$`)
)

// Commands of make and go test name targets, packages, tests and flags that exist, whether they are run
// or not.
func TestCommandsOfTheRepository(t *testing.T) {
	repository := scan(t)
	for _, p := range pages(t) {
		if p.Path == "CHANGELOG.md" {
			continue
		}
		check := func(line int, script string) {
			commands, err := Commands(script)
			if err != nil {
				t.Errorf("%s:%d: %v", p.Path, line, err)
			}
			for _, c := range commands {
				for _, wrong := range repository.wrong(c) {
					t.Errorf("%s:%d: %s: %s", p.Path, line, strings.Join(c.Args, " "), wrong)
				}
			}
		}
		for _, b := range p.Blocks {
			if b.Language == "sh" {
				check(b.Line, b.Text)
			}
		}
		for _, c := range p.Code {
			if strings.HasPrefix(c.Text, "make ") || strings.HasPrefix(c.Text, "go test ") {
				check(c.Line, c.Text)
			}
		}
	}
}
