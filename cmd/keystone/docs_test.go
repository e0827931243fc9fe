package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/docs/check"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// TestDocs runs the commands of the pages as a reader would: `make run`, then each page in a shell of
// its own, and wants the answers they show. docs/testing.md says how a page is written for it.
func TestDocs(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq", "make"} {
		_, err := exec.LookPath(tool)
		missing(t, tool, err)
	}
	pages, err := check.Pages("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The tutorial begins with an empty pipeline; the others do not mind.
	slices.SortStableFunc(pages, func(a, b *check.Page) int { return tutorialFirst(a) - tutorialFirst(b) })
	d := makeRun(t)
	for _, p := range pages {
		var steps []check.Block
		for _, b := range p.Blocks {
			if b.Run() {
				steps = append(steps, b)
			}
		}
		if len(steps) > 0 {
			t.Run(p.Path, func(t *testing.T) { d.follow(t, p.Path, steps) })
		}
	}
	t.Run("help", d.runExamples)
	d.interrupt(t)
}

func tutorialFirst(p *check.Page) int {
	if p.Path == "docs/tutorial.md" {
		return 0
	}
	return 1
}

// makeRun is `make run` on a folder and ports of the test's.
func makeRun(t *testing.T) *dev {
	t.Helper()
	bin := binary(t) // or the test is skipped; what it has built, make need not
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t)
	cmd := command("make", "--no-print-directory", "-C", root, "run", "ENGINES=", "DATA_DIR="+dir, "LISTEN=127.0.0.1:0", "ADMIN=127.0.0.1:0")
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal does, so that Ctrl-C reaches all of it
	d := launch(t, dir, cmd)
	d.bin = bin
	d.ready(t)
	return d
}

// interrupt is Ctrl-C at the terminal of makeRun.
func (d *dev) interrupt(t *testing.T) {
	t.Helper()
	children := childrenOf(t, d.cmd.Process.Pid)
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	enginetest.WaitGone(t, children...)
	<-d.done
	if _, err := readDevInfo(d.dir); err == nil || !strings.Contains(d.log.String(), "stopping ...") {
		t.Errorf("it did not stop as it should:\n%s", d.log)
	}
}

// follow runs a page's blocks in one shell, in a folder that looks like the repository to them.
func (d *dev) follow(t *testing.T, page string, steps []check.Block) {
	const end = "--- end of block"
	script := "set -euo pipefail\n"
	for _, s := range steps {
		text := s.Text
		if s.Language == "sql" {
			text = "keystone clickhouse client -q \"$(cat <<'SQL'\n" + text + "SQL\n)\"\n"
		}
		script += text + "\necho '" + end + "'\n"
	}
	out, err := d.shell(t, script)
	answers := strings.Split(out, end+"\n")
	if err != nil || len(answers) != len(steps)+1 {
		at := steps[min(len(answers), len(steps))-1]
		t.Fatalf("%s:%d: %v:\n%s\nanswers\n%s", page, at.Line, err, at.Text, answers[len(answers)-1])
	}
	for i, s := range steps {
		if s.Answer != "" && !shows(s.Answer).MatchString(answers[i]) {
			t.Errorf("%s:%d:\n%s\nanswers\n%s\nand the page shows\n%s", page, s.Line, s.Text, answers[i], s.Answer)
		}
	}
}

// docsTimeout is for all of a page.
const docsTimeout = 5 * time.Minute

// shell runs a script and answers what a terminal would show. Addresses that pages use stand for d's.
func (d *dev) shell(t *testing.T, script string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, to := range map[string]string{"bin": filepath.Dir(d.bin), ".keystone": d.dir} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	edge, admin := strings.TrimPrefix(d.EdgeURL, "http://"), strings.TrimPrefix(d.AdminURL, "http://")
	script = strings.NewReplacer("localhost:8080", edge, "127.0.0.1:8080", edge, "localhost:8081", admin, "127.0.0.1:8081", admin,
		"https://cdp.example", d.EdgeURL).Replace(script)
	cmd := command("bash", "-c", script)
	cmd.Env = append(cmd.Env, fmt.Sprintf("PATH=%s:%s", filepath.Dir(d.bin), os.Getenv("PATH")))
	cmd.Dir = dir
	ctx, cancel := context.WithTimeout(t.Context(), docsTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })() // ended already: fine
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// shows is what a page shows of an answer: … stands for anything within a line, or for lines where it
// has one to itself.
func shows(text string) *regexp.Regexp {
	var pattern strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n ")) {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n]*`))
	}
	return regexp.MustCompile(`^\s*` + pattern.String() + `\s*$`)
}

func TestShows(t *testing.T) {
	for _, c := range []struct {
		page, answer string
		want         bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\nb\nc\n", false},
		{"id …, (1.0)\n", "id 5f, (1.0)\n", true},
		{"id …, (1.0)\n", "id 5f, (1x0)\n", false},
		{"a…\n", "a\nb\n", false},
		{"a\n…\nd\n", "a\nb\nc\nd\n", true},
		{"a\n  …\n", "a\nb\nc\n", true},
		{"", "anything\n", false},
	} {
		if got := shows(c.page).MatchString(c.answer); got != c.want {
			t.Errorf("%q shows %q: %v", c.page, c.answer, got)
		}
	}
}

// notHere are beginnings of examples that cannot be run on a pipeline like this one, which is why the
// parser alone has read them.
var notHere = map[string]string{
	"keystone edge ":                         "the roles: TestRoles",
	"keystone processor ":                    "",
	"keystone sink ":                         "",
	"keystone migrate ":                      "",
	"keystone topics create ":                "",
	"keystone doctor --edge ":                "nobody has these addresses: TestDoctor",
	"keystone lag --edge-admin ":             "nobody has these addresses: TestLagCountsSpools",
	"keystone dev":                           "a second one: TestDevLife",
	"keystone demo page ":                    "until Ctrl-C: make test-tracker",
	"keystone keys init ":                    "writes where only root may: TestDoctor",
	"keystone recover ":                      "refuses beside running processors: make test-upgrade",
	"keystone erase ":                        "destroys what other examples show: TestErase",
	"keystone dlq show ":                     "no such letter: TestDeadLetters",
	"keystone dlq replay keystone.events/":   "",
	"keystone dlq drop keystone.events/":     "",
	"keystone explain ":                      "no such profile: the tutorial has it",
	"keystone unmerge --tenant ":             "no such merge: the tutorial has it",
	"keystone analysts create ":              "the embedded engine has a hole: TestAnalysts",
	"keystone clickhouse migrate ":           "no such server: TestOperator",
	"KEYSTONE_SPOOL_BYTES=1 keystone config": "fails, as it should: TestConfigCheckListsEveryBrokenRule",
}

// runExamples runs the examples of every command's help, after the pages.
func (d *dev) runExamples(t *testing.T) {
	left := maps.Clone(notHere)
	for command, script := range examples(t) {
		statements, err := check.Statements(script)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	next:
		for _, s := range statements {
			for begin := range notHere {
				if strings.HasPrefix(s, begin) {
					delete(left, begin)
					continue next
				}
			}
			files := "echo '{}' > new.json; echo 'SELECT 1' > report.sql\n"
			if out, err := d.shell(t, "set -euo pipefail\n"+files+s); err != nil {
				t.Errorf("%s: %v\n%s\n%s", command, err, s, out)
			}
		}
	}
	for begin := range left {
		t.Errorf("there is no example that begins with %s", begin)
	}
}
