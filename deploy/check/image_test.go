package check

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const dockerfile = "../docker/Dockerfile"

// TestImage does what the Dockerfile does, as far as that needs no engine: its build command, on the
// files that the build context would have, twice in different folders. The binary must be the same, need
// nothing of a system, and say its version.
func TestImage(t *testing.T) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^RUN (go build .* -o) /out/keystone (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("the Dockerfile has no build command")
	}
	var builds [2][sha256.Size]byte
	for i := range builds {
		context, out := t.TempDir(), filepath.Join(t.TempDir(), "keystone")
		copyContext(t, context)
		build := exec.Command("sh", "-c", string(found[1])+" "+out+" "+string(found[2]))
		build.Dir = context
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "GOWORK=off", "VERSION=v9.8.7")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		binary, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		builds[i] = sha256.Sum256(binary)
		file, err := elf.NewFile(bytes.NewReader(binary))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Error("the binary is not static")
			}
		}
		if bytes.Contains(binary, []byte(context)) {
			t.Error("the folder it was built in is in the binary")
		}
		if version, err := exec.Command(out, "version").Output(); err != nil || !strings.HasPrefix(string(version), "keystone v9.8.7 ") {
			t.Errorf("version: %q, %v", version, err)
		}
	}
	if builds[0] != builds[1] {
		t.Error("two builds gave two binaries")
	}
	for _, want := range []string{"\nFROM scratch\n", "\nUSER 65532:65532\n", "\nENTRYPOINT [\"/keystone\"]\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Dockerfile lacks %s", strings.TrimSpace(want))
		}
	}
}

// copyContext copies what docker would send: the tree, less what the ignore file says.
func copyContext(t *testing.T, to string) {
	t.Helper()
	list, err := os.Open(dockerfile + ".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	patterns, err := ignorefile.ReadAll(list)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("..", "..")
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "node_modules" || entry.Name() == ".git" || name == "deploy" {
				return fs.SkipDir
			}
			return nil
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		if err != nil || skip || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755)
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
