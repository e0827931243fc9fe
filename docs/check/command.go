package check

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Command is one command of a shell script: its words, and the variables it is given.
type Command struct {
	Args []string
	Env  map[string]string
}

// Placeholder stands for what only a shell can tell.
const Placeholder = "VALUE"

// Statements are the commands of a script as they stand there, pipes and lists whole.
func Statements(script string) ([]string, error) {
	file, err := parse(script)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range file.Stmts {
		all = append(all, script[s.Pos().Offset():s.End().Offset()])
	}
	return all, nil
}

func parse(script string) (*syntax.File, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return nil, fmt.Errorf("no shell reads this: %w", err)
	}
	return file, nil
}

// Commands are those of a script, also inside of pipes, loops and substitutions.
func Commands(script string) ([]Command, error) {
	file, err := parse(script)
	if err != nil {
		return nil, err
	}
	var all []Command
	syntax.Walk(file, func(node syntax.Node) bool {
		call, ok := node.(*syntax.CallExpr)
		if !ok {
			return true
		}
		c := Command{Env: map[string]string{}}
		for _, a := range call.Assigns {
			c.Env[a.Name.Value] = word(a.Value)
		}
		for _, w := range call.Args {
			c.Args = append(c.Args, word(w))
		}
		all = append(all, c)
		return true
	})
	return all, nil
}

// Keystone answers the arguments, where the command is our binary's.
func (c Command) Keystone() ([]string, bool) {
	for i, arg := range c.Args {
		name := arg[strings.LastIndexByte(arg, '/')+1:]
		if name == "keystone" && (i == 0 || c.Args[0] == "xargs") {
			return c.Args[i+1:], true
		}
	}
	return nil, false
}

// word is its text, quotes taken off.
func word(w *syntax.Word) string {
	if w == nil {
		return ""
	}
	return parts(w.Parts)
}

func parts(all []syntax.WordPart) string {
	var out strings.Builder
	for _, part := range all {
		switch p := part.(type) {
		case *syntax.Lit:
			out.WriteString(strings.ReplaceAll(p.Value, "\\\n", ""))
		case *syntax.SglQuoted:
			out.WriteString(p.Value)
		case *syntax.DblQuoted:
			out.WriteString(parts(p.Parts))
		default:
			out.WriteString(Placeholder)
		}
	}
	return out.String()
}
