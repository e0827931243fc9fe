package check

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const installed = "/usr/local/bin/keystone"

func TestUnits(t *testing.T) {
	units, err := filepath.Glob("../systemd/*.service")
	if err != nil || len(units) != 4 {
		t.Fatal(units, err)
	}
	env := map[string]string{"KEYSTONE_BROKERS": "a:9092", "KEYSTONE_STORE_DSN": "postgres://db:26257/keystone", "KEYSTONE_CLICKHOUSE_DSN": "clickhouse://ch:9000/keystone"}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		secrets := withSecrets(t, unit, env)
		for line := range strings.Lines(string(text)) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="+installed+" "); ok {
				understood(t, unit, env, strings.Fields(command)...)
				understood(t, unit+" with secrets", secrets, strings.Fields(command)...)
				known(t, unit+" with secrets", secrets, strings.Fields(command)...)
			}
		}
		for _, want := range []string{"DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "EnvironmentFile=/etc/keystone/"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %s", unit, strings.TrimSpace(want))
			}
		}
		verify(t, unit, string(text))
	}
}

// verify lets systemd read a unit, where there is one, with the binary of this tree in its place.
func verify(t *testing.T, unit, text string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("%s: not verified: there is no systemd-analyze", unit)
		return
	}
	path := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, installed, keystone)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(path+".d", os.DirFS(unit+".d")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--recursive-errors=no", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), filepath.Base(unit)) {
		t.Errorf("%s: %v: %s", unit, err, out)
	}
}

// withSecrets is a unit's environment with that of its drop-in, whose files are there.
func withSecrets(t *testing.T, unit string, env map[string]string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unit+".d", "secrets.conf"))
	if err != nil {
		t.Fatal(err)
	}
	env = maps.Clone(env)
	credentials := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if credential, ok := strings.CutPrefix(line, "LoadCredential="); ok {
			id, _, _ := strings.Cut(credential, ":")
			credentials["%d/"+id] = true
		}
		variables, ok := strings.CutPrefix(line, "Environment=")
		if !ok {
			continue
		}
		for _, v := range strings.Fields(variables) {
			name, value, _ := strings.Cut(v, "=")
			secret := strings.HasSuffix(name, "_PASSWORD_FILE") || strings.HasSuffix(name, "_KEY")
			if secret && !credentials[value] {
				t.Errorf("%s: %s=%s is no credential of the unit", unit, name, value)
			}
			if file := testFile(t, name); file != "" {
				value = file
			}
			env[name] = value
		}
	}
	return env
}
