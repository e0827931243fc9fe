package check

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// keystone is the binary that the files start, built once from this tree.
var keystone string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keystone-check-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	keystone = filepath.Join(dir, "keystone")
	build := exec.Command("go", "build", "-o", keystone, "./cmd/keystone")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build keystone: %v: %s\n", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // a temporary folder
	os.Exit(code)
}

// understood holds a command line against keystone's own parser and, for a role, its configuration.
func understood(t *testing.T, where string, env map[string]string, args ...string) {
	t.Helper()
	cmd := exec.Command(keystone, append([]string{"config", "line"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: keystone %s: %s", where, strings.Join(args, " "), out)
	}
}

// known holds the names of environment variables against those of the help: one that nobody reads
// changes nothing, without a word.
func known(t *testing.T, where string, env map[string]string, args ...string) {
	t.Helper()
	command := []string{}
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			break
		}
		command = append(command, arg)
	}
	out, err := exec.Command(keystone, append(command, "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("keystone %s --help: %v: %s", strings.Join(command, " "), err, out)
	}
	for name := range env {
		// One block of variables is for all the services of a file.
		if strings.HasPrefix(name, "KEYSTONE_") && !strings.Contains(string(out), name) && !shared[name] {
			t.Errorf("%s: keystone %s does not read %s", where, strings.Join(command, " "), name)
		}
	}
}

// testFile is a file like the one that a variable names; "" where it names none.
func testFile(t *testing.T, variable string) string {
	t.Helper()
	at := strings.LastIndex(variable, "_")
	switch kind := variable[at+1:]; {
	case strings.HasSuffix(variable, "_PASSWORD_FILE"):
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	case kind == "CA" || kind == "CERT":
		return certificate(t).cert
	case kind == "KEY":
		return certificate(t).key
	}
	return ""
}

type certificateFiles struct{ cert, key string }

// certificate is one, in files. It is that of Go's test servers.
func certificate(t *testing.T) certificateFiles {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := certificateFiles{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	for path, block := range map[string]*pem.Block{files.cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, files.key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// shared are the variables that every role gets, also one that has no use for them.
var shared = map[string]bool{"KEYSTONE_BROKERS": true, "KEYSTONE_STORE_DSN": true, "KEYSTONE_CLICKHOUSE_DSN": true,
	"KEYSTONE_ADMIN_LISTEN": true, "KEYSTONE_LOG_FORMAT": true, "KEYSTONE_TRACE_ENDPOINT": true}
