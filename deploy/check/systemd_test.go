package check

import (
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
		for line := range strings.Lines(string(text)) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="+installed+" "); ok {
				understood(t, unit, env, strings.Fields(command)...)
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
	out, err := exec.Command(analyze, "verify", "--recursive-errors=no", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), filepath.Base(unit)) {
		t.Errorf("%s: %v: %s", unit, err, out)
	}
}
