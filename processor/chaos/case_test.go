package chaos_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every acceptance case of the specification has a test of its number, or a word in docs/DESIGN.md that
// says which test it is.
func TestEveryCaseHasATest(t *testing.T) {
	const root = "../.."
	named := regexp.MustCompile(`func TestCase_(\w+?)_`)
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range named.FindAllSubmatch(text, -1) {
			have[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	design, err := os.ReadFile(filepath.Join(root, "docs", "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	cases := []string{"03a"}
	for n := range 64 {
		cases = append(cases, fmt.Sprintf("%02d", n+1))
	}
	for _, c := range cases {
		if !have[c] && !strings.Contains(string(design), "Case "+c+":") {
			t.Errorf("case %s has no test", c)
		}
	}
}
