package check

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shownOnly are the languages of blocks that nobody runs.
var shownOnly = []string{"text", "json", "html"}

var notRunAnywhere = regexp.MustCompile(`(?m)(#|--|//).*\bnot run\b`)

// wrongBlock tells why a block cannot stay as it is.
func (r *repository) wrongBlock(b Block) string {
	first, rest, _ := strings.Cut(b.Text, "\n")
	switch {
	case b.Language == "":
		return "a block without a language: commands are sh or sql, other things text"
	case b.NotRun == "" && len(b.RunBy) == 0 && !b.Run() && !slices.Contains(shownOnly, b.Language):
		return fmt.Sprintf("nothing here runs %s: name the test that does (run by …), or begin with a line \"# not run here: why\"", b.Language)
	case b.NotRun != "" && len(b.RunBy) > 0:
		return fmt.Sprintf("run by %v, and %q", b.RunBy, first)
	case notRunAnywhere.MatchString(rest) || b.NotRun == "" && notRunAnywhere.MatchString(first):
		return "that something is not run is said once, in the block's first line: # not run here: why"
	case b.Language == "json" && !json.Valid([]byte(b.Text)):
		return "this is no JSON"
	}
	for _, by := range b.RunBy {
		if target, make := strings.CutPrefix(by, "make "); make {
			if !r.inCI[target] {
				return ".ci/run does not come to " + by
			}
		} else if name, _, _ := strings.Cut(by, "/"); !r.funcs[name] {
			return "there is no " + by
		}
	}
	return ""
}

const sample = `# A page: of ` + "`code`" + `, twice

<!-- run first
prepare --all
-->
~~~sh
keystone lag
~~~
~~~text
nothing
~~~

[here](#a-page-of-code-twice) TestNothing

~~~sh
true
~~~

Not an answer:

~~~text
said
~~~

<!-- run by TestRead, make test -->
~~~sh
make test
~~~
~~~sql
-- not run here: there is no such table
SELECT 1
~~~
~~~yaml
a: 1
~~~
`

// What a page says of its blocks is what the tests hear.
func TestRead(t *testing.T) {
	p, err := read("sample.md", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.Blocks {
		got = append(got, fmt.Sprintf("%d %s run=%v by=%v not=%q answer=%q", b.Line, b.Language, b.Run(), b.RunBy, b.NotRun, b.Answer))
	}
	want := []string{
		`3 sh run=true by=[] not="" answer=""`,
		`7 sh run=true by=[] not="" answer="nothing\n"`,
		`10 text run=false by=[] not="" answer=""`,
		`16 sh run=true by=[] not="" answer=""`,
		`22 text run=false by=[] not="" answer=""`,
		`27 sh run=false by=[TestRead make test] not="" answer=""`,
		`30 sql run=false by=[] not="there is no such table" answer=""`,
		`34 yaml run=false by=[] not="" answer=""`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !p.Headings["a-page-of-code-twice"] || len(p.Links) != 1 || !strings.Contains(p.Prose, "TestNothing") {
		t.Errorf("headings %v, links %v, prose %q", p.Headings, p.Links, p.Prose)
	}
}

func TestWrongBlocks(t *testing.T) {
	r := scan(t)
	for want, b := range map[string]Block{
		"":                     {Language: "sh", Text: "keystone lag\n"},
		"without a language":   {Text: "keystone lag\n"},
		"nothing here runs ya": {Language: "yaml", Text: "a: 1\n"},
		"no JSON":              {Language: "json", Text: "{a}\n"},
		"said once":            {Language: "sh", Text: "true\nkeystone edge # not run\n"},
		"there is no TestNo":   {Language: "sh", RunBy: []string{"TestNo"}},
		"does not come to":     {Language: "sh", RunBy: []string{"make tracker"}},
		"run by [TestRead]":    {Language: "sh", RunBy: []string{"TestRead"}, NotRun: "why"},
	} {
		if got := r.wrongBlock(b); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %q", b, got)
		}
	}
}

// A command that names what is not there is found.
func TestWrongCommands(t *testing.T) {
	r := scan(t)
	for script, want := range map[string]string{
		"make test TESTFLAGS=-short": "",
		"make tests":                 "no target tests",
		"make test FLAGS=x":          "does not read FLAGS",
		"go test ./docs/check -run 'TestRead|TestNothing'":  "",
		"go test ./docs/... -run '^$' -bench Nothing":       "nothing is called as -bench says",
		"go test ./nowhere":                                 "no tests are in ./nowhere",
		"go test ./processor/chaos -args -chaos.nothing=1":  "no flag is called chaos.nothing",
		"A=1 go test ./processor/chaos -args -chaos.seed=1": "",
	} {
		commands, err := Commands(script)
		if err != nil || len(commands) != 1 {
			t.Fatalf("%s: %v %v", script, commands, err)
		}
		if got := strings.Join(r.wrong(commands[0]), "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", script, got)
		}
	}
}

func TestCommands(t *testing.T) {
	commands, err := Commands("A=$B xargs -r ./bin/keystone dlq replay \\\n  --all \"$X\" | jq 'a b'; for i in 1; do keystone lag; done")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range commands {
		args, ok := c.Keystone()
		got = append(got, fmt.Sprintln(ok, args, c.Env))
	}
	want := []string{"true [dlq replay --all VALUE] map[A:VALUE]\n", "false [] map[]\n", "true [lag] map[]\n"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	statements, err := Statements("echo a |\n  cat\ntrue && false # why\n")
	if err != nil || !slices.Equal(statements, []string{"echo a |\n  cat", "true && false"}) {
		t.Errorf("%q %v", statements, err)
	}
	if _, err := Commands("if"); err == nil {
		t.Error("half a command is one")
	}
}
