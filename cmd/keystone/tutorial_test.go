package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTutorial runs the commands of docs/tutorial.md as a reader would, in one shell, and wants the
// answers it shows.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the tutorial needs %s", tool)
		}
	}
	steps := stepsOf(t, string(text))
	d := startDev(t, folder(t))
	dir := t.TempDir()
	for name, to := range map[string]string{"bin": filepath.Dir(d.bin), ".keystone": d.dir} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	const end = "--- end of step"
	script := "set -euo pipefail\n"
	for _, s := range steps {
		script += s.commands + "\necho '" + end + "'\n"
	}
	shell := command("bash", "-c", script)
	shell.Dir = dir
	out, err := shell.CombinedOutput()
	answers := strings.Split(string(out), end+"\n")
	if err != nil || len(answers) != len(steps)+1 {
		t.Fatalf("%v after %d of %d steps:\n%s", err, len(answers)-1, len(steps), out)
	}
	for i, s := range steps {
		if !s.answer.MatchString(answers[i]) {
			t.Errorf("%s\nanswers\n%s\nand the page shows\n%s", s.commands, answers[i], s.shown)
		}
	}
	d.stop(t)
}

// step is a block of commands, and what the page shows as their answer.
type step struct {
	commands, shown string
	answer          *regexp.Regexp
}

var blocks = regexp.MustCompile("(?s)(<!-- not run[^\n]*\n)?```sh\n(.*?)```\n(?:```text\n(.*?)```\n)?")

func stepsOf(t *testing.T, page string) (steps []step) {
	t.Helper()
	for _, b := range blocks.FindAllStringSubmatch(page, -1) {
		if b[1] != "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(b[3])), "…", "[^\n]*")
		steps = append(steps, step{commands: b[2], shown: b[3], answer: regexp.MustCompile(fmt.Sprintf(`^\s*%s\s*$`, pattern))})
	}
	if len(steps) < 6 {
		t.Fatalf("the page has %d steps", len(steps))
	}
	return steps
}
