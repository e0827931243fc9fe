package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/keystone-cdp/keystone/docs/check"
)

// Every command and flag that a page names is one: commands that TestDocs does not run are read by the
// parser whole, code within a sentence as far as it goes.
func TestDocsNameCommandsThatExist(t *testing.T) {
	pages, err := check.Pages("../..")
	if err != nil {
		t.Fatal(err)
	}
	root := grammar(t).Model.Node
	for _, p := range pages {
		if p.Path == "CHANGELOG.md" {
			continue // it tells of what was
		}
		for _, b := range p.Blocks {
			if b.Language == "sh" && !b.Run() {
				parses(t, p.Path, b.Line, b.Text)
			}
		}
		for _, c := range p.Code {
			if wrong := misnamed(root, c.Text); wrong != "" {
				t.Errorf("%s:%d: `%s`: %s", p.Path, c.Line, c.Text, wrong)
			}
		}
	}
}

// Examples of --help are what people copy.
func TestHelpExamplesParse(t *testing.T) {
	all := examples(t)
	if len(all) < 15 {
		t.Fatalf("%d commands have examples", len(all))
	}
	for command, script := range all {
		parses(t, command+" --help", 0, script)
	}
}

// examples are those of each command's help.
func examples(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := kong.Visit(grammar(t).Model, func(node kong.Visitable, next kong.Next) error {
		if n, ok := node.(*kong.Node); ok {
			if _, text, ok := strings.Cut(n.Detail, "Example"); ok {
				_, all[n.FullPath()], _ = strings.Cut(text, "\n")
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// grammar is main's command line. It is made once: that takes a tenth of a second with the race detector.
func grammar(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := makeGrammar()
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

var makeGrammar = sync.OnceValues(func() (*kong.Kong, error) {
	_, parser, err := newParser(io.Discard, io.Discard)
	return parser, err
})

// parses has the parser read every keystone of a script.
func parses(t *testing.T, where string, line int, script string) {
	t.Helper()
	commands, err := check.Commands(script)
	if err != nil {
		t.Errorf("%s:%d: %v", where, line, err)
	}
	for _, c := range commands {
		args, ok := c.Keystone()
		if !ok {
			continue
		}
		for i, arg := range args {
			if strings.Contains(arg, "*") {
				args[i] = os.DevNull // files of whoever runs it
			}
		}
		args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "…" }) // and what else it takes
		parser, help := grammar(t), false
		parser.Exit = func(int) { help = true }
		if _, err := parser.Parse(args); err != nil && !help {
			t.Errorf("%s:%d: keystone %s: %v", where, line, strings.Join(args, " "), err)
		}
		if wrong := misnamed(parser.Model.Node, "keystone "+strings.Join(args, " ")); wrong != "" {
			t.Errorf("%s:%d: keystone %s: %s", where, line, strings.Join(args, " "), wrong)
		}
	}
}

// misnamed tells what is wrong with code that names a command or a flag of ours, as far as it goes:
// WHAT stands for any word, and what a command needs may be missing.
func misnamed(root *kong.Node, code string) string {
	words := strings.Fields(code)
	if len(words) == 0 {
		return ""
	}
	switch first := words[0]; {
	case first == "keystone" || first == "./bin/keystone":
		words = words[1:]
	case strings.HasPrefix(first, "--") && len(first) > 2:
		if flagOf(root, first, true) == nil {
			return "no command has the flag " + first
		}
		return ""
	case len(words) == 1 || !strings.HasPrefix(words[1], "--") || child(root, first) == nil:
		return "" // not ours
	}
	node, any := root, false
	for i := 0; i < len(words); i++ {
		word := words[i]
		if strings.HasPrefix(word, "--") {
			flag := flagOf(node, word, any)
			if flag == nil {
				return node.FullPath() + " has no flag " + word
			}
			if !flag.IsBool() && !strings.Contains(word, "=") {
				i++ // its value
			}
			continue
		}
		if len(node.Positional) > 0 && node.Positional[0].PassthroughMode != kong.PassThroughModeNone {
			return misnamed(root, "keystone "+strings.Join(words[i:], " ")) // of config line
		}
		if any || len(node.Children) == 0 {
			continue // an argument
		}
		if word == strings.ToUpper(word) {
			any = true
			continue
		}
		next := (*kong.Node)(nil)
		for name := range strings.SplitSeq(word, "|") {
			if next = child(node, name); next == nil {
				return node.FullPath() + " has no command " + name
			}
		}
		node = next
	}
	return ""
}

func child(node *kong.Node, name string) *kong.Node {
	for _, c := range node.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// flagOf finds a flag among those of a command and of the commands above it, or of all below it too.
func flagOf(node *kong.Node, word string, below bool) *kong.Flag {
	name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if f.Name == name {
				return f
			}
		}
	}
	if node.DefaultCmd != nil {
		return flagOf(node.DefaultCmd, word, below)
	}
	if below {
		for _, c := range node.Children {
			if f := flagOf(c, word, true); f != nil {
				return f
			}
		}
	}
	return nil
}

func TestMisnamed(t *testing.T) {
	for code, want := range map[string]string{
		"keystone dlq":                          "",
		"keystone export WHAT --tenant T":       "",
		"keystone COMMAND --help":               "",
		"keystone config line …":                "",
		"keystone topics list|check":            "",
		"--spool-dir":                           "",
		"--trusted-proxies 10.0.0.0/8,…":        "",
		"lag --wait":                            "",
		"sort --reverse":                        "",
		"keystone dlq lost":                     "no command lost",
		"keystone topics list|cheque":           "no command cheque",
		"keystone edge --spool-bytes=1 --liste": "no flag --liste",
		"--spool-dri":                           "no command has the flag --spool-dri",
		"lag --weight":                          "no flag --weight",
	} {
		if got := misnamed(grammar(t).Model.Node, code); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", code, got)
		}
	}
}
