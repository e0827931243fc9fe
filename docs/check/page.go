// Package check reads the project's pages the way its tests want them: which commands a page shows and
// who runs them, where it links to, what it names. It is for tests only, and changes nothing.
package check

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Page is one Markdown file.
type Page struct {
	Path     string // from the repository's root, with slashes
	Blocks   []Block
	Links    []Link
	Headings map[string]bool // their anchors, as GitHub makes them
	Prose    string          // what is written outside of blocks, line by line
	Code     []Code          // code within prose
}

// Block is a fenced block, or commands in a comment that are run before the page's next block.
type Block struct {
	Line           int
	Language, Text string
	RunBy          []string // tests and make targets that run what it shows
	NotRun         string   // why nothing does; the reader sees it too
	Answer         string   // the text block beneath it: what it prints
}

// Code is a piece of text and where it is.
type Code struct {
	Line int
	Text string
}

// Link is where the page points to.
type Link struct {
	Line int
	To   string
}

// Run tells whether the block is one for the page's shell.
func (b Block) Run() bool {
	return (b.Language == "sh" || b.Language == "sql") && b.NotRun == "" && len(b.RunBy) == 0
}

// Pages are all of the repository, but for what tests and packages of others hold.
func Pages(root string) ([]*Page, error) {
	var pages []*Page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (name[0] == '.' || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		page, err := read(filepath.ToSlash(inside), source)
		pages = append(pages, page)
		return err
	})
	return pages, err
}

// reader goes through one page.
type reader struct {
	*Page
	source []byte
	all    []string // who runs every block of the page
	next   []string // who runs the next one
}

func read(path string, source []byte) (*Page, error) {
	r := &reader{Page: &Page{Path: path, Headings: map[string]bool{}}, source: source}
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	err := ast.Walk(markdown.Parser().Parse(text.NewReader(source)), r.visit)
	for i := range r.Blocks {
		if b := &r.Blocks[i]; b.Run() {
			b.RunBy = append(b.RunBy, r.all...)
		}
	}
	return r.Page, err
}

func (r *reader) visit(node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	switch n := node.(type) {
	case *ast.FencedCodeBlock:
		r.block(n)
		return ast.WalkSkipChildren, nil
	case *ast.CodeBlock:
		return ast.WalkStop, fmt.Errorf("%s:%d: a block by indentation has no language: fence it", r.Path, r.line(n))
	case *ast.HTMLBlock:
		return ast.WalkSkipChildren, r.comment(n)
	case *ast.Heading:
		r.heading(plain(n, r.source))
	case *ast.CodeSpan:
		r.Code = append(r.Code, Code{Line: r.line(n), Text: plain(n, r.source)})
		r.Prose += " "
	case *ast.Link:
		r.Links = append(r.Links, Link{Line: r.line(n), To: string(n.Destination)})
	case *ast.Image:
		r.Links = append(r.Links, Link{Line: r.line(n), To: string(n.Destination)})
	case *ast.Text:
		r.Prose += string(n.Segment.Value(r.source))
		if n.SoftLineBreak() || n.NextSibling() == nil {
			r.Prose += "\n"
		}
	}
	return ast.WalkContinue, nil
}

// The marks: a comment before a block names what runs it; a comment of commands is run where it stands;
// a first line of a block says to everybody that nothing runs it, and why.
var (
	runBy    = regexp.MustCompile(`^(all )?run by ([^\n]+)$`)
	runFirst = regexp.MustCompile(`^run first\n`)
	notRun   = regexp.MustCompile(`^(?:#|--|//|<!--) not run(?: here| by the tests): (.+?)(?: -->)?$`)
)

func (r *reader) comment(n *ast.HTMLBlock) error {
	comment := strings.TrimSpace(lines(n, r.source))
	if n.ClosureLine.Len() > 0 {
		comment += "\n" + strings.TrimSpace(string(n.ClosureLine.Value(r.source)))
	}
	comment, opened := strings.CutPrefix(comment, "<!--")
	comment, closed := strings.CutSuffix(comment, "-->")
	if !opened || !closed {
		return nil // other HTML
	}
	comment = strings.TrimSpace(comment)
	switch m := runBy.FindStringSubmatch(comment); {
	case m != nil && m[1] != "":
		r.all = names(m[2])
	case m != nil:
		if _, before := n.NextSibling().(*ast.FencedCodeBlock); !before {
			return fmt.Errorf("%s:%d: no block follows %q", r.Path, r.line(n), comment)
		}
		r.next = names(m[2])
	case runFirst.MatchString(comment):
		r.Blocks = append(r.Blocks, Block{Line: r.line(n), Language: "sh", Text: runFirst.ReplaceAllString(comment, "")})
	}
	return nil
}

func (r *reader) block(n *ast.FencedCodeBlock) {
	b := Block{Line: r.line(n), Language: string(n.Language(r.source)), Text: lines(n, r.source), RunBy: r.next}
	r.next = nil
	first, _, _ := strings.Cut(b.Text, "\n")
	if m := notRun.FindStringSubmatch(first); m != nil {
		b.NotRun = m[1]
	}
	if before, ok := n.PreviousSibling().(*ast.FencedCodeBlock); ok && b.Language == "text" {
		if last := &r.Blocks[len(r.Blocks)-1]; last.Run() && string(before.Language(r.source)) == last.Language {
			last.Answer = b.Text
		}
	}
	r.Blocks = append(r.Blocks, b)
}

func names(list string) []string {
	all := strings.Split(list, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// heading makes the anchor of a heading as GitHub does: lower case, no punctuation, hyphens for spaces.
func (r *reader) heading(title string) {
	anchor := strings.Map(func(c rune) rune {
		switch {
		case c == ' ':
			return '-'
		case unicode.IsLetter(c), unicode.IsDigit(c), c == '-', c == '_':
			return unicode.ToLower(c)
		}
		return -1
	}, title)
	unique := anchor
	for i := 1; r.Headings[unique]; i++ {
		unique = anchor + "-" + strconv.Itoa(i)
	}
	r.Headings[unique] = true
}

// line is where a node begins, or its first piece of text for those that do not know.
func (r *reader) line(node ast.Node) int {
	at := -1
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the visitor has no error
		if t, ok := n.(*ast.Text); ok {
			at = t.Segment.Start
		} else if n.Type() == ast.TypeBlock && n.Lines().Len() > 0 {
			at = n.Lines().At(0).Start
		}
		if at >= 0 {
			return ast.WalkStop, nil
		}
		return ast.WalkContinue, nil
	})
	return 1 + strings.Count(string(r.source[:max(at, 0)]), "\n")
}

// plain is a node's text without its marks.
func plain(node ast.Node, source []byte) string {
	var out strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the visitor has no error
		if t, ok := n.(*ast.Text); ok && entering {
			out.Write(t.Segment.Value(source))
			if t.SoftLineBreak() {
				out.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

func lines(node ast.Node, source []byte) string {
	var out strings.Builder
	for i := range node.Lines().Len() {
		segment := node.Lines().At(i)
		out.Write(segment.Value(source))
	}
	return out.String()
}
