package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keystone.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// edgeConfig is what an edge would run with.
func edgeConfig(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	return runCLI(t, append([]string{"--config", configFile(t, file), "config", "print", "edge", "--store-dsn=postgres://x", "--brokers=a:9092"}, args...)...)
}

func TestConfigFile(t *testing.T) {
	for name, file := range map[string]string{
		"names with underscores":      `{"spool_dir":"/from/file","listen":":5"}`,
		"flags as they are typed":     `{"spool-dir":"/from/file","listen":":5"}`,
		"names of JavaScript":         `{"spoolDir":"/from/file","listen":":5"}`,
		"names of other roles' flags": `{"spool_dir":"/from/file","listen":":5","clickhouse_dsn":"clickhouse://x"}`,
		"null is no value":            `{"spool_dir":"/from/file","listen":":5","log_level":null}`,
	} {
		out, err := edgeConfig(t, file)
		if err != nil || !strings.Contains(out, `"/from/file`) || !strings.Contains(out, `"listen": ":5"`) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// What is nearer to who starts the process counts: a flag, then the environment, then the file.
func TestConfigFileIsTheLastWord(t *testing.T) {
	const file = `{"spool_dir":"/from/file","listen":":5"}`
	t.Setenv("KEYSTONE_EDGE_LISTEN", ":6")
	if out, err := edgeConfig(t, file); err != nil || !strings.Contains(out, `"listen": ":6"`) {
		t.Errorf("the environment and the file: %v\n%s", err, out)
	}
	if out, err := edgeConfig(t, file, "--listen=:7"); err != nil || !strings.Contains(out, `"listen": ":7"`) {
		t.Errorf("the flag, the environment and the file: %v\n%s", err, out)
	}
}

func TestConfigFileRefuses(t *testing.T) {
	for file, want := range map[string]string{
		`{"spool_dri":"/x"}`:                      `"spool_dri" is no flag, did you mean "spool_dir"?`,
		`{"spool-dri":"/x"}`:                      `did you mean "spool_dir"?`,
		`{"lissten":":5"}`:                        `did you mean "listen"?`,
		`{"clickhouse_dns":"x"}`:                  `did you mean "clickhouse_dsn"?`,
		`{"store":{"dsn":"x"}}`:                   `"store" is no flag`,
		`{"completely_else":1}`:                   `"completely_else" is no flag`,
		`{"b_unknown":1,"a_unknown":1}`:           `"a_unknown" is no flag` + "\n",
		`{"spool_dir":"/x","spool-dir":"/y"}`:     `"spool_dir" is there twice`,
		`{"config":"/x"}`:                         `"config" is no flag`,
		`{"listen":5}`:                            `--listen`,
		`{"spool_dir":`:                           `keystone.json`,
		`["spool_dir"]`:                           `must be a JSON object`,
		`{"spool_dir":"/x"} {"spool_dir":"/y"}`:   `something follows`,
		`{"tennant":"demo"}`:                      `did you mean "tenant"?`,
		`{"spool_dir":"/x","spool_bytes":"many"}`: `--spool-bytes`,
	} {
		_, err := edgeConfig(t, file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	// The file's fault is told before what is missing because of it.
	_, err := runCLI(t, "--config", configFile(t, `{"tennant":"demo"}`), "export", "profiles")
	if err == nil || !strings.Contains(err.Error(), `did you mean "tenant"?`) {
		t.Errorf("beside a missing flag: %v", err)
	}
}
