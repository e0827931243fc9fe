package main

import (
	"bytes"
	"strings"
	"testing"
)

// cli runs the command line in this process.
func runCLI(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(""), &out, &out)
	return out.String(), err
}

func TestConfigPrintMasksSecrets(t *testing.T) {
	for role, dsn := range map[string]string{
		"processor": "--store-dsn=postgres://keystone:s3cret@db:26257/keystone?sslmode=verify-full",
		"sink":      "--clickhouse-dsn=clickhouse://keystone:s3cret@ch:9000/keystone",
	} {
		out, err := runCLI(t, "config", "print", role, dsn, "--brokers=a:9092,b:9092")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out, "s3cret") || !strings.Contains(out, "keystone:xxxxx@") || !strings.Contains(out, `"b:9092"`) {
			t.Errorf("%s: %s", role, out)
		}
	}
}

func TestMaskAddress(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://k:s3cret@db:26257/keystone?sslmode=verify-full":        "postgres://k:xxxxx@db:26257/keystone?sslmode=verify-full",
		"postgres://k:s3cret@a:26257,b:26257/keystone":                     "postgres://k:xxxxx@a:26257,b:26257/keystone",
		"postgres://db/keystone?password=s3cret&password_file=%2Frun%2Fpw": "postgres://db/keystone?password=xxxxx&password_file=%2Frun%2Fpw",
		"postgres://db/keystone?sslpassword=s3cret":                        "postgres://db/keystone?sslpassword=xxxxx",
		"clickhouse://k@ch:9440/keystone?secure=true":                      "clickhouse://k@ch:9440/keystone?secure=true",
		"postgres://k:s3c/ret@db/keystone":                                 "(an address that cannot be read)",
		"postgres://k:s3c?ret@db/keystone":                                 "(an address that cannot be read)",
		"postgres://k:s3c#ret@db/keystone":                                 "(an address that cannot be read)",
		"postgres://k:s3c@ret@db/keystone":                                 "(an address that cannot be read)",
		"postgres://db/keystone?password=s3%zzcret":                        "postgres://db/keystone?(parameters that cannot be read)",
		"host=db user=k password=s3cret sslmode=require":                   "host=db user=k password=xxxxx sslmode=require",
		`host=db password = 's3 \'cret' sslmode=require`:                   "host=db password = xxxxx sslmode=require",
		"host=db password='s3 cret":                                        "host=db password=xxxxx",
		`host=db password=s3\ cret user=k`:                                 "host=db password=xxxxx user=k",
		":8080":                                                            ":8080",
	} {
		if got := maskAddress(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestConfigCheckListsEveryBrokenRule(t *testing.T) {
	_, err := runCLI(t, "config", "check", "edge", "--store-dsn=postgres://x", "--brokers=a:9092", "--listen=", "--spool-bytes=1", "--spool-dir=/nowhere")
	if err == nil || !strings.Contains(err.Error(), "listen is missing") || !strings.Contains(err.Error(), "max_bytes must be at least 1 MiB") {
		t.Errorf("got %v", err)
	}
	if out, err := runCLI(t, "config", "check", "edge", "--store-dsn=postgres://x", "--brokers=a:9092", "--spool-dir=/nowhere"); err != nil || out != "ok\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestWithoutDevTheErrorSaysWhatToDo(t *testing.T) {
	_, err := runCLI(t, "export", "profiles", "--tenant", "demo", "--data-dir", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "make run") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v", err)
	}
	// In production nobody thinks of a dev: what is missing has a name.
	_, err = runCLI(t, "processor", "--store-dsn=postgres://x", "--data-dir", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--brokers is not given") || strings.Contains(err.Error(), "--store-dsn") {
		t.Errorf("without brokers: %v", err)
	}
	_, err = runCLI(t, "sink", "--data-dir", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--clickhouse-dsn and --brokers are not given") {
		t.Errorf("without anything: %v", err)
	}
}

// The flags that a command is about stand before the two dozen that say where the servers are.
func TestHelpShowsTheCommandsOwnFlagsFirst(t *testing.T) {
	var out bytes.Buffer
	_, parser, err := newParser(&out, &out)
	if err != nil {
		t.Fatal(err)
	}
	parser.Exit = func(int) {}
	_, _ = parser.Parse([]string{"unmerge", "--help"})
	if own, servers := strings.Index(out.String(), "--merge="), strings.Index(out.String(), "\nServers:"); own < 0 || servers < own {
		t.Errorf("--merge at %d, the servers at %d:\n%s", own, servers, out.String())
	}
}

// The cookbook's questions begin with a comment.
func TestAStatementMayBeginWithAComment(t *testing.T) {
	for _, flag := range []string{"-q", "--query"} {
		_, err := runCLI(t, "clickhouse", "client", "--url=http://127.0.0.1:1/", flag, "-- why\nSELECT 1")
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, err := runCLI(t, "clickhouse", "client", "-q", "--format"); err == nil || !strings.Contains(err.Error(), "--query") {
		t.Errorf("a flag for a statement: %v", err)
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"SpoolDir": "spool_dir", "DSN": "dsn", "ClickHouseDSN": "click_house_dsn", "MaxConnsPerIP": "max_conns_per_ip", "Listen": "listen"} {
		if got := snake(name); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestConfigLine(t *testing.T) {
	t.Setenv("KEYSTONE_BROKERS", "a:9092")
	for _, line := range []string{
		"migrate --replication 3 --events-partitions 32", "edge --store-dsn=postgres://x --spool-dir=/nowhere", "sink --clickhouse-dsn=clickhouse://c:9000",
		"--log-format json processor --store-dsn=postgres://x", "keys init --tenant shop --file /keys.json", "ready --admin-listen :8081", "doctor --json",
		"/usr/local/bin/keystone migrate --replication 3",
	} {
		if out, err := runCLI(t, append([]string{"config", "line"}, strings.Fields(line)...)...); err != nil || out != "ok\n" {
			t.Errorf("%s: %q, %v", line, out, err)
		}
	}
	for line, want := range map[string]string{
		"edge --listne :80":                             "unknown flag --listne",
		"keys create --tenant shop":                     "--scope",
		"edge --store-dsn=postgres://x --spool-bytes=1": "max_bytes must be at least 1 MiB",
		"edge --store-dsn=postgres://x":                 "--spool-dir is missing",
		"sink --data-dir=/nowhere":                      "no keystone dev",
		"nonsense":                                      "unexpected argument nonsense",
	} {
		if _, err := runCLI(t, append([]string{"config", "line"}, strings.Fields(line)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Without a role there is nothing to print: until now it was the sink's.
func TestConfigWantsARole(t *testing.T) {
	for _, command := range []string{"print", "check"} {
		if out, err := runCLI(t, "config", command); err == nil || out != "" || !strings.Contains(err.Error(), "edge, processor or sink") {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
}
