package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// repository is what pages name of it.
type repository struct {
	source  string            // of Go files, the Makefile and the scripts of CI
	funcs   map[string]bool   // tests, fuzz tests and benchmarks
	tests   map[string]string // the tests' source, by folder
	targets map[string]bool   // of the Makefile
	inCI    map[string]bool   // those that .ci/run comes to
	make    string
}

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	target   = regexp.MustCompile(`(?m)^([a-z-]+):([^=\n#]*)`)
	makeCall = regexp.MustCompile(`(?m)^make ([a-z-]+)`)
)

// scan reads the repository, once for all tests.
func scan(t *testing.T) *repository {
	t.Helper()
	r, err := scanned()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.inCI) < 5 || len(r.funcs) < 100 {
		t.Fatalf("%d targets in CI, %d tests", len(r.inCI), len(r.funcs))
	}
	return r
}

var scanned = sync.OnceValues(func() (*repository, error) {
	r := &repository{funcs: map[string]bool{}, tests: map[string]string{}, targets: map[string]bool{}, inCI: map[string]bool{}}
	var source strings.Builder
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == ".git" || name == ".keystone" || path == filepath.Join(root, "bin")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".go" && name != "Makefile" && name != "run" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		source.Write(text)
		if strings.HasSuffix(name, "_test.go") {
			dir, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			r.tests[filepath.ToSlash(dir)] += string(text)
			for _, f := range testFunc.FindAllStringSubmatch(string(text), -1) {
				r.funcs[f[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.source = source.String()
	return r, r.readMake()
})

func (r *repository) readMake() error {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err
	}
	ci, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	if err != nil {
		return err
	}
	r.make = string(makefile)
	needs := map[string][]string{}
	for _, m := range target.FindAllStringSubmatch(r.make, -1) {
		r.targets[m[1]] = true
		needs[m[1]] = append(needs[m[1]], strings.Fields(m[2])...)
	}
	var come func(string)
	come = func(name string) {
		if !r.inCI[name] {
			r.inCI[name] = true
			for _, need := range needs[name] {
				come(need)
			}
		}
	}
	for _, m := range makeCall.FindAllStringSubmatch(string(ci), -1) {
		come(m[1])
	}
	return nil
}

// wrong tells what a command of make or go test names and nobody has.
func (r *repository) wrong(c Command) (wrong []string) {
	switch {
	case len(c.Args) > 1 && c.Args[0] == "make":
		for _, arg := range c.Args[1:] {
			if name, _, set := strings.Cut(arg, "="); set && !strings.Contains(r.make, "$("+name+")") {
				wrong = append(wrong, "the Makefile does not read "+name)
			} else if !set && !r.targets[arg] {
				wrong = append(wrong, "there is no target "+arg)
			}
		}
	case len(c.Args) > 2 && c.Args[0] == "go" && c.Args[1] == "test":
		return r.wrongTest(c.Args[2:])
	}
	return wrong
}

func (r *repository) wrongTest(args []string) (wrong []string) {
	var code string
	for _, arg := range args {
		if dir, ok := strings.CutPrefix(arg, "./"); ok {
			dir, all := strings.CutSuffix(dir, "...")
			dir = strings.TrimSuffix(dir, "/")
			found := ""
			for name, text := range r.tests {
				if name == dir || all && strings.HasPrefix(name+"/", dir+"/") || all && dir == "" {
					found += text
				}
			}
			if found == "" {
				wrong = append(wrong, "no tests are in "+arg)
			}
			code += found
		}
	}
	for i, arg := range args {
		switch {
		case arg == "-run" || arg == "-bench" || arg == "-fuzz":
			if i+1 == len(args) || !called(args[i+1], code) {
				wrong = append(wrong, "nothing is called as "+arg+" says")
			}
		case customFlag.MatchString(arg):
			if name := customFlag.FindStringSubmatch(arg)[1]; !strings.Contains(code, `"`+name+`"`) {
				wrong = append(wrong, "no flag is called "+name)
			}
		}
	}
	return wrong
}

// customFlag is a flag of a test of ours: they have a dot in their names.
var customFlag = regexp.MustCompile(`^-([a-z]+\.[a-z]+)`)

// called tells whether a pattern of -run or -bench has something of the code.
func called(pattern, code string) bool {
	if pattern == "^$" {
		return true
	}
	first, _, _ := strings.Cut(pattern, "/")
	re, err := regexp.Compile(first)
	if err != nil {
		return false
	}
	for _, f := range testFunc.FindAllStringSubmatch(code, -1) {
		if re.MatchString(f[1]) {
			return true
		}
	}
	return false
}
